"""What the report says of a trial: sentences, effects, both arms over time, what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reporting.blocks import Measure, picture
from locality.reporting.page import Table
from locality.text import counted
from locality.trial import figures as draw
from locality.trial.doubts import lost_text
from locality.trial.effects import Verdict, effects
from locality.trial.text import (
    effect_text,
    interval_text,
    number,
    outcome_name,
    plan_lines,
    sentences,
    verdict_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.recording.frames import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.page import Section
    from locality.trial.effects import Effect
    from locality.trial.observation import Outcome, Trial

#: Outcomes that are drawn over time: those the trial was made for, and the first ones.
MOST_OVER_TIME = 3

#: A trial compares by itself; nothing of it is compared before and after.
MEASURES: tuple[Measure, ...] = ()


def events(recording: Recording) -> int:
    """Connections or blocks, both arms together."""
    return len(recording.trial.units)


def headline(recording: Recording) -> str:
    """What was tried, and what became of the outcomes that it was made to decide."""
    trial: Trial | None = recording.trial.trial
    if trial is None:
        return "a trial without a unit"
    what = "connection" if trial.design.kind == "connection" else "block"
    a, b = trial.design.arms
    tried = f"a trial of {b} against {a}, {counted(len(trial.units), what)}"
    found = effects(trial)
    shown = [effect for effect in found if effect.outcome.primary] or found[:1]
    return f"{tried}; {', '.join(f'{one.outcome.label}: {_short(one)}' for one in shown)}"


def _short(effect: Effect) -> str:
    if effect.interval is None:
        return verdict_text(effect)
    interval = interval_text(effect.interval)
    if effect.verdict is Verdict.NO_DIFFERENCE:
        return f"{verdict_text(effect)} [{interval}]"
    return f"{effect.verdict.value}, {effect_text(effect)} [{interval}]"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost, and what the guard said."""
    trial: Trial | None = recording.trial.trial
    if trial is None:
        return
    if recording.lost:
        yield lost_text(trial).removeprefix("! ")
    if trial.harm:
        yield f"the guard against harm ended the trial: {trial.harm}"
    if trial.ended_early:
        yield "the trial ended early; its intervals are anytime-valid"


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a trial."""
    trial: Trial | None = recording.trial.trial
    if trial is None:
        return
    found = effects(trial)
    yield " ".join(f"{line.strip()}." for line in plan_lines(trial))
    yield picture(
        f"{prefix}effects",
        "The effect of B against A on each outcome with its 95 % interval; in grey, A against A, "
        "which should hold zero. Green is better, red is worse, black is no difference shown.",
        draw.effects(found),
    )
    yield _effects_table(found)
    yield from (sentence.removeprefix("! ") for sentence in sentences(trial, found))
    for effect in found:
        for warning in effect.warnings[effect.interval is None :]:
            yield f"{effect.outcome.label}: {warning}."
    outcomes = _over_time(found)
    if outcomes:
        what = (
            "each block, joined with the other of its pair"
            if trial.design.kind == "blocks"
            else "the connections of each arm, in parts of the time"
        )
        yield picture(
            f"{prefix}over-time",
            f"Both arms over time: {what}.",
            draw.over_time(trial, outcomes),
        )
    if trial.facts:
        yield Table(("fact", "value"), tuple(trial.facts.items()))


def _over_time(found: Sequence[Effect]) -> list[Outcome]:
    known = [one.outcome for one in found if one.interval is not None]
    return sorted(known, key=lambda outcome: not outcome.primary)[:MOST_OVER_TIME]


def _effects_table(found: Sequence[Effect]) -> Table:
    heading = ("outcome", "A", "B", "effect", "95 % interval", "verdict", "p", "A against A")
    rows = tuple(
        (
            outcome_name(one.outcome),
            number(one.a),
            number(one.b),
            effect_text(one),
            interval_text(one.interval),
            verdict_text(one),
            "?" if one.p is None else f"{one.p:.2g}",
            interval_text(one.aa),
        )
        for one in found
    )
    return Table(heading, rows)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing: a trial is a comparison itself."""
    yield from ()
