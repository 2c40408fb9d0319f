"""What `locality lab trial` showed, as lines, a table and JSON."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.table import Table

from locality.lab.trial_cases import AA, COMPARISONS, MAP, REVERSED, SPIN_US
from locality.machine.topology import format_cpu_list
from locality.text import printable
from locality.trial.effects import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.lab.experiment import LocalLab
    from locality.lab.trial_cases import Shown
    from locality.trial.effects import Effect

SAYS_NOTHING = (
    "These figures are of this machine, this load and this wire. They say nothing of any other: "
    "measure yours with locality trial."
)
REVERSED_IS_BETTER = (
    "A reversed map that is better than the hash shows that the gain of a map is not locality "
    "alone: with any map each worker is woken by one CPU."
)
_WORDS = {
    "cpu_per_request": "CPU a request",
    "nginx_per_request": "of which nginx",
    "requests": "requests/s",
    "queue_wait p50": "queue wait p50",
    "receipt_to_read p50": "receipt to read",
}
_NO_DIFFERENCE = "no difference"
_SHOWN = (Verdict.BETTER, Verdict.WORSE)


def machine_facts(lab: LocalLab) -> dict[str, str]:
    """The machine that the figures are of; before the lab has loaded it."""
    return {
        "kernel": printable(platform.release()),
        "processor": processor(),
        "online CPUs": str(os.cpu_count()),
        "CPUs of the lab": format_cpu_list(lab.cpus),
        "wire": lab.wire.lines()[0].removeprefix("wire: "),
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def processor() -> str:
    """The model of the CPU, and whether it is a virtual machine's."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    rows = [line.partition(":") for line in text.splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in reversed(rows)}
    virtual = " (virtual)" if "hypervisor" in fields.get("flags", "").split() else ""
    return printable(fields.get("model name", platform.machine())) + virtual


def opening(machine: Mapping[str, str]) -> Iterator[str]:
    """What is about to be measured, and where.

    Args:
        machine: As `machine_facts` told it.
    """
    for name, value in machine.items():
        yield f"{name}: {value}"
    for name, meaning in COMPARISONS.items():
        yield f"{name}: {meaning}"
    yield SAYS_NOTHING


def line(shown: Shown) -> str:
    """The main outcome of a comparison, as soon as it is known; empty for the others."""
    label = shown.effect.outcome.label
    if label not in {"cpu_per_request", "receipt_to_read p50"}:
        return ""
    what = f"{shown.scenario}, {shown.comparison}: {_WORDS[label]}"
    return f"{what} {effect_text(shown.effect)}: {verdict_text(shown.effect)}"


def verdict_text(effect: Effect) -> str:
    """A verdict that fits a table."""
    return _NO_DIFFERENCE if effect.verdict is Verdict.NO_DIFFERENCE else effect.verdict.value


def effect_text(effect: Effect) -> str:
    """An effect with its interval: ``-3.1 % [-4.0, -2.2]``; see `amounts`."""
    interval = effect.interval
    if interval is None:
        return "?"
    bounds = (interval.estimate, interval.low, interval.high)
    return amounts(bounds, effect.outcome.unit, relative=interval.scale == "relative")


def amounts(bounds: tuple[float, float, float], unit: str, *, relative: bool) -> str:
    """An estimate and its interval in percent, or in the outcome's unit."""
    if relative:
        at, low, high = (f"{100 * bound:+.1f}" for bound in bounds)
        return f"{at} % [{low}, {high}]"
    at, low, high = (f"{bound:+.3g}" for bound in bounds)
    return f"{at} {unit} [{low}, {high}]"


def value_text(value: float | None, unit: str) -> str:
    """A value of an arm; a rate needs no unit beside its name."""
    if value is None:
        return "?"
    return f"{float(f'{value:.3g}'):,g}{f' {unit}' if unit != '1/s' else ''}"


def tables(found: Sequence[Shown]) -> Iterator[Table]:
    """A table for each load, with a row for each outcome of each comparison."""
    for scenario in dict.fromkeys(shown.scenario for shown in found):
        drawn = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
            title=scenario,
            title_justify="left",
        )
        for heading in ("", "outcome", "A", "effect of B, 95 %", "verdict"):
            justify: Literal["left", "right"] = "right" if heading == "A" else "left"
            drawn.add_column(heading, justify=justify, no_wrap=True)
        for shown in found:
            if shown.scenario == scenario:
                drawn.add_row(*_cells(shown))
        yield drawn


def _cells(shown: Shown) -> tuple[str, ...]:
    effect = shown.effect
    return (
        shown.comparison if shown.comparison in COMPARISONS else "nearest",
        _WORDS[effect.outcome.label],
        value_text(effect.a, effect.outcome.unit),
        effect_text(effect),
        verdict_text(effect),
    )


def markdown(document: dict[str, Any]) -> Iterator[str]:
    """The table of a page, from what `to_json` gave."""
    yield "| load | comparison | accept-local A, B | outcome | A | effect of B, 95 % | verdict |"
    yield "|---|---|---|---|--:|--:|---|"
    for row in document["shown"]:
        effect = "?"
        if row["estimate"] is not None:
            bounds = (row["estimate"], row["low"], row["high"])
            effect = amounts(bounds, row["unit"], relative=row["scale"] == "relative")
        # Earlier files do not say why.
        why = f": {row['missing']}" if row.get("missing") else ""
        yield (
            f"| {row['scenario']} | {row['comparison']} | {row['local']} | "
            f"{_WORDS[row['outcome']]} | {value_text(row['a'], row['unit'])} | {effect} | "
            f"{row['verdict']}{why} |"
        )


def remarks(document: dict[str, Any]) -> Iterator[str]:
    """What a reader of the whole table must know, from what `to_json` gave."""
    known = [row for row in document["shown"] if row["estimate"] is not None]
    verdicts = {verdict.value for verdict in _SHOWN}
    counts = []
    for comparisons in ((MAP, REVERSED), (AA,)):
        rows = [row["verdict"] in verdicts for row in known if row["comparison"] in comparisons]
        counts += [sum(rows), len(rows)]
    differ, compared, of_nothing, aa = counts
    yield (
        f"{differ} of {compared} comparisons of a map with the hash show a difference, and "
        f"{of_nothing} of {aa} of the hash with itself. Each interval has 95 % by itself: where "
        "nothing differs, one of 20 shows a difference by chance."
    )
    if any(
        (row["comparison"], row["outcome"], row["verdict"])
        == (REVERSED, "cpu_per_request", Verdict.BETTER.value)
        for row in known
    ):
        yield REVERSED_IS_BETTER


def closing(found: Sequence[Shown]) -> Iterator[str]:
    """What it comes to."""
    aa = [one.effect for one in found if one.comparison == AA and one.effect.interval]
    differ = sum(effect.verdict is not Verdict.NO_DIFFERENCE for effect in aa)
    yield f"A/A: {differ} of {len(aa)} outcomes show a difference; about 1 in 20 does by chance"
    for comparison in (MAP, REVERSED):
        cpu = [one.effect for one in found if one.comparison == comparison and _is_cpu(one)]
        counts = [sum(effect.verdict is verdict for effect in cpu) for verdict in _SHOWN]
        yield (
            f"{comparison}: CPU a request is better in {counts[0]} of {len(cpu)} loads, worse in "
            f"{counts[1]}"
        )
    if any(one.comparison == REVERSED and _is_better(one) for one in found):
        yield REVERSED_IS_BETTER
    yield from injected_lines(found)


def injected_lines(found: Sequence[Shown]) -> Iterator[str]:
    """What a trial by connection made of the cost that is known to be there."""
    reads = [one for one in found if one.effect.outcome.label == "receipt_to_read p50"]
    for shown in reads:
        effect = shown.effect
        difference = "?" if effect.difference is None else f"{-effect.difference:.1f} us"
        yield (
            f"{shown.scenario}: a read at another worker comes {difference} later (p50): "
            f"{effect.verdict.value} at the nearest one"
        )


def injected_is_found(found: Sequence[Shown]) -> bool:
    """Whether the dearer remote read was found."""
    name = f"{SPIN_US:g} us dearer"
    return any(
        one.scenario.endswith(name)
        and one.effect.outcome.label == "receipt_to_read p50"
        and one.effect.verdict is Verdict.BETTER
        for one in found
    )


def to_json(machine: Mapping[str, str], found: Sequence[Shown]) -> dict[str, Any]:
    """All of it, for programs; the machine as `machine_facts` told it."""
    return {
        "machine": dict(machine),
        "note": SAYS_NOTHING,
        "shown": [one.as_dict() for one in found],
    }


def _is_cpu(shown: Shown) -> bool:
    return shown.effect.outcome.name == "cpu_per_request"


def _is_better(shown: Shown) -> bool:
    return _is_cpu(shown) and shown.effect.verdict is Verdict.BETTER
