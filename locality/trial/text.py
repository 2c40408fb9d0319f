"""A trial as readable lines: what was tried, a table of effects, and what it means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TextIO

from locality.stream import Output
from locality.text import printable, wrap
from locality.trial.amounts import amount, percent_of
from locality.trial.doubts import lost_text, of_trial
from locality.trial.effects import Verdict, effects
from locality.trial.holm import after_holm
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.machine.topology import Topology
    from locality.trial.batch import TrialBatch, TrialSummary
    from locality.trial.effects import Effect, Interval
    from locality.trial.observation import Outcome, Trial

#: Columns of the table for the name of an outcome.
_NAME = 19
#: Between these a number is written without an exponent, with a comma from the first on.
_COMMA, _EXPONENT = 1000, 10_000_000

HEADING = f"{'outcome':<{_NAME}} {'A':>8} {'B':>8} {'effect':>8}  {'95 % interval':<16} A against A"


class TextTrial(Output["TrialBatch"]):
    """What was tried, once; the summary has the rest."""

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._told = False

    def write(self, batch: TrialBatch) -> None:
        """Take a part."""
        if not self._told:
            self._out.write("".join(f"{line}\n" for line in plan_lines(batch.part)))
            self._told = True
        self._out.flush()


def summary_lines(summary: TrialSummary) -> Iterator[str]:
    """What a trial shows."""
    if summary.trial is None:
        yield "the trial has no units"
    else:
        yield from result_lines(summary.trial)


def lines(trial: Trial) -> Iterator[str]:
    """All of a trial."""
    yield from plan_lines(trial)
    yield from result_lines(trial)


def plan_lines(trial: Trial) -> Iterator[str]:
    """What is compared with what, and how."""
    design = trial.design
    a, b = design.arms
    if trial.target:
        yield from wrap(trial.target, "  ")
    yield from wrap(a, "   ", first="A: ")
    yield from wrap(b, "   ", first="B: ")
    if design.kind == "connection":
        yield f"a coin for each connection, about {design.planned} planned, seed {design.seed}"
        return
    yield from wrap(
        f"{design.planned // 2} pairs of blocks of {design.block_s:g} s in random order, "
        f"{design.washout_s:g} s of each thrown away, seed {design.seed}"
    )


def result_lines(trial: Trial) -> Iterator[str]:
    """What it shows: a table, sentences, and what was left out."""
    found = effects(trial)
    yield ""
    yield HEADING
    for effect in found:
        yield from effect_lines(effect)
    yield ""
    for sentence in sentences(trial, found):
        yield from wrap(sentence, "  ")


def effect_lines(effect: Effect) -> Iterator[str]:
    """One outcome: its figures on a line, its verdict and its doubts below."""
    name = outcome_name(effect.outcome)
    if len(name) > _NAME:
        yield name
        name = ""
    cells = (
        f"{number(effect.a):>8} {number(effect.b):>8} {effect_text(effect):>8}  "
        f"{interval_text(effect.interval):<16} {interval_text(effect.aa)}"
    )
    yield f"{name:<{_NAME}} {cells}".rstrip()
    yield from wrap(verdict_text(effect), "    ", first="  ")
    for warning in effect.warnings[effect.interval is None :]:
        yield from wrap(f"! {warning}", "    ", first="  ")


def outcome_name(outcome: Outcome) -> str:
    """``queue_wait p99, us``, marked with a star if the trial was made to decide it."""
    star = "*" if outcome.primary else ""
    unit = f", {outcome.unit}" if outcome.unit else ""
    return printable(f"{outcome.label}{unit}{star}")


def verdict_text(effect: Effect) -> str:
    """``better``, or ``no difference shown (less than 2.7%)`` and what could have been shown.

    Where nothing is known, why; that is the first of the warnings.
    """
    if effect.interval is None:
        return ": ".join([str(effect.verdict.value), *effect.warnings[:1]])
    if effect.verdict is not Verdict.NO_DIFFERENCE:
        return str(effect.verdict.value)
    scale, unit = effect.interval.scale, effect.outcome.unit
    text = f"{effect.verdict.value} (less than {amount(effect.interval.at_most, scale, unit)})"
    if effect.smallest is None:
        return text
    return f"{text}; this run could have shown {amount(effect.smallest, scale, unit)}"


def sentences(trial: Trial, found: Sequence[Effect]) -> Iterator[str]:
    """What it means, what was looked at, what was left out, and how it ended."""
    yield from _meaning(trial, found)
    yield from _how_sure(trial, found)
    for doubt in of_trial(trial):
        yield f"! {doubt}"
    yield from _what_is_missing(trial)
    yield from _how_it_ended(trial)


def _meaning(trial: Trial, found: Sequence[Effect]) -> Iterator[str]:
    a, b = trial.design.arms
    shown = [effect for effect in found if effect.verdict in {Verdict.BETTER, Verdict.WORSE}]
    for effect in sorted(shown, key=lambda one: not one.outcome.primary):
        if effect.interval is None:
            continue
        scale, unit = effect.interval.scale, effect.outcome.unit
        low, high = sorted((effect.interval.low, effect.interval.high), key=abs)
        way = "less" if effect.interval.high < 0 else "more"
        yield (
            f"{effect.outcome.label}: B ({b}) is {effect.verdict.value} than A ({a}), "
            f"{amount(abs(low), scale, unit)} to {amount(abs(high), scale, unit)} {way}."
        )
    if not shown:
        yield f"No outcome shows a difference between B ({b}) and A ({a})."


def _how_sure(trial: Trial, found: Sequence[Effect]) -> Iterator[str]:
    count = len(found)
    primary = [one.outcome.label for one in found if one.outcome.primary]
    made = f" The trial was made to decide {' and '.join(primary)} (*)." if primary else ""
    if count == 1:
        yield f"One outcome was looked at.{made}"
    else:
        yield (
            f"{count} outcomes were looked at, and each interval has 95 % by itself: where nothing "
            f"differs, one outcome of twenty shows a difference by chance.{made}"
        )
        yield from _holm(found)
    if trial.design.kind == "connection":
        yield (
            "It says what becomes of a connection that the other worker gets, not what would "
            "become of all: that takes blocks of time (--switch)."
        )
    if not len(trial.aa_units):
        yield "There is no A/A part: nothing shows that equal arms come out equal here."


def _holm(found: Sequence[Effect]) -> Iterator[str]:
    """What is left after the correction for several outcomes."""
    known = [effect for effect in found if effect.p is not None]
    if not known:
        yield "Of none of them enough is known, so nothing is decided."
        return
    corrected = after_holm(found)
    left = [one.outcome.label for one, holds in zip(found, corrected, strict=True) if holds]
    yield (
        f"After Holm's correction for the {len(known)} of which something is known, "
        + (f"a difference remains in: {', '.join(left)}." if left else "no difference remains.")
    )


def _what_is_missing(trial: Trial) -> Iterator[str]:
    of_arm = [int((trial.units["arm"] == arm).sum()) for arm in (A, B)]
    what = "connections" if trial.design.kind == "connection" else "blocks"
    yield f"used: {of_arm[A]} {what} of A, {of_arm[B]} of B; A against A: {len(trial.aa_units)}"
    for reason, count in trial.left_out.items():
        if count:
            yield f"left out: {count} ({reason})"
    yield lost_text(trial)


def _how_it_ended(trial: Trial) -> Iterator[str]:
    if trial.harm is not None:
        yield f"! the guard against harm ended the trial: {trial.harm}"
    if trial.ended_early:
        yield (
            "It ended early. The intervals hold whenever it is ended (anytime-valid), and are "
            "about one and a half times as wide for that."
        )
    if trial.kept is not None:
        yield f"B ({trial.kept}) was left in place."
    elif trial.restored:
        yield "Everything is as it was before."
    elif trial.restored is None:
        yield "! What the trial changed is not known to be put back."
    else:
        yield "! Not everything is as it was before the trial."


def number(value: float | None) -> str:
    """A value of an arm: four digits that count."""
    if value is None or not math.isfinite(value):
        return "?"
    if _COMMA <= abs(value) < _EXPONENT:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) < _COMMA else f"{value:.3g}"


def effect_text(effect: Effect) -> str:
    """``-33.9%``, or the difference in the outcome's unit."""
    if effect.interval is None:
        return "?"
    if effect.interval.scale == "relative":
        return f"{percent_of(effect.interval.estimate, sign='+')}%"
    return f"{effect.interval.estimate:+.3g}"


def interval_text(interval: Interval | None) -> str:
    """``-36.1 to -31.6%``, or without the sign in the outcome's unit."""
    if interval is None:
        return "?"
    if interval.scale == "relative":
        low, high = (percent_of(one, sign="+") for one in (interval.low, interval.high))
        return f"{low} to {high}%"
    return f"{interval.low:+.3g} to {interval.high:+.3g}"
