"""Measure what a program that spills does and costs, for docs/generated/spill.md.

    python -m validation.spill_page               # make spill: measure everything
    python -m validation.spill_page --only cost   # measure one part again
    python -m validation.spill_page --redraw      # measure nothing, read spill.json

Writes docs/generated/spill.json with every figure, the tables in spill.md beside it, and the one in
docs/guides/attach.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from locality.text import percent, share
from tests.checkout import commit
from validation.marked_page import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

DOCS = Path(__file__).parent.parent / "docs"

LAB = ("-m", "locality", "lab", "spill", "--seconds", "8", "--rounds", "5")
#: Of the busiest worker; the last two are 70 and 90 % of what both workers take.
LOADS = (50, 70, 90, 112, 144)
UNEQUAL = tuple(f"load {load}" for load in LOADS)
#: Each part: what measures it, and the option that names the file for its figures.
PARTS: dict[str, tuple[tuple[str, ...], str]] = {
    **{
        name: ((*LAB, "--load", str(load)), "-o") for name, load in zip(UNEQUAL, LOADS, strict=True)
    },
    "even": ((*LAB, "--load", "20", "--skew", "50"), "-o"),
    "cost": (("-m", "benchmarks", "spill"), "--json"),
    "events hash": (("-m", "validation.spill_events", "--steering", "hash"), "--json"),
    "events spill": (("-m", "validation.spill_events", "--steering", "spill"), "--json"),
}
STEERINGS = ("hash", "map", "spill")


def measure(part: str) -> dict[str, Any]:
    """Measure one part, as a program of its own.

    Raises:
        SystemExit: It failed.
    """
    command, option = PARTS[part]
    with TemporaryDirectory() as directory:
        file = Path(directory, "figures.json")
        argv = [sys.executable, *command, option, str(file)]
        print(" ".join(argv[1:]), file=sys.stderr, flush=True)
        if subprocess.run(argv, check=False, stdout=sys.stderr).returncode:
            raise SystemExit(f"{part}: not measured")
        found: dict[str, Any] = json.loads(file.read_text())
    return found


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """What goes into the page, of the parts that were measured."""
    commits = dict.fromkeys(found[part]["commit"] for part in PARTS if part in found)
    yield from (f"Measured on commit {', '.join(commits)}.", "") if commits else ()
    unequal = [found[name] for name in UNEQUAL if name in found]
    for result in unequal[:1]:
        yield (
            f"Linux {result['kernel']}, {len(result['cpus'])} CPUs, a connection takes "
            f"{result['took_ms']:.1f} ms of its worker; medians of "
            f"{len(result['loads'][0]['steerings']['hash'])} rounds."
        )
        yield from ("", "### 80 % of the connections on one of two CPUs", "")
        yield from _lab_table(unequal)
    if "even" in found:
        yield from ("", "### Both CPUs receive the same, light load", "")
        yield from _lab_table([found["even"]])
    if "cost" in found:
        yield from ("", "### Time of the program for each SYN", "")
        yield "| sockets in the group, and their queues | ns | middle half of the rounds |"
        yield "|---|--:|--:|"
        for figure in found["cost"]["benchmarks"]["spill"]:
            low, high = figure["middle_half"]
            yield f"| {figure['name']} | {figure['median']:.0f} | {low:.0f} … {high:.0f} |"
    events = {
        name: found[part][name] for name in ("hash", "spill") if (part := f"events {name}") in found
    }
    if events:
        yield from ("", "### Workers are killed, reloaded and stopped", "")
        yield from _events_table(events)


def short_table(found: Mapping[str, Any]) -> Iterator[str]:
    """What goes into the guide."""
    yield "| load | could be local | hash: local, p99 | map: local, p99 | spill: local, p99 |"
    yield "|--:|--:|---|---|---|"
    for name in UNEQUAL:
        for load in found[name]["loads"] if name in found else ():
            cells = [f"{100 * load['load']:.0f}%", percent(load["most_local_percent"])]
            for steering in STEERINGS:
                turns = load["steerings"][steering]
                bound = f"N = {load['bound']}: " if steering == "spill" else ""
                p99 = _text(turn["ms"]["p99"] for turn in turns)
                cells.append(f"{bound}{percent(_local(turns))}, {p99} ms")
            yield f"| {' | '.join(cells)} |".replace("%", " %")


def _local(turns: Sequence[Mapping[str, Any]]) -> float | None:
    """Percent, the median of the rounds that saw an accept; None if none did."""
    shares = [share(turn["local"], turn["accepted"]) for turn in turns]
    known = [one for one in shares if one is not None]
    return float(median(known)) if known else None


def _text(values: Iterable[float | None], of: Callable[[Sequence[float]], float] = median) -> str:
    """A number of the rounds in which something was answered; ``?`` if that is none of them."""
    known = [value for value in values if value is not None]
    return f"{of(known):.1f}" if known else "?"


def _lab_table(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield (
        "| load | could be local | steering | accept-local | p50 | p99 (smallest … largest) | "
        "p99.9 | overflows | failed |"
    )
    yield "|--:|--:|---|--:|--:|--:|--:|--:|--:|"
    for result in results:
        for load in result["loads"]:
            for number, name in enumerate(STEERINGS):
                turns = load["steerings"][name]
                yield _lab_row(load, name, turns, first=not number)


def _lab_row(
    load: Mapping[str, Any], name: str, turns: Sequence[Mapping[str, Any]], *, first: bool
) -> str:
    times = {which: [turn["ms"][which] for turn in turns] for which in ("p50", "p99", "p99.9")}
    p99 = times["p99"]
    cells = (
        f"{100 * load['load']:.0f} %" if first else "",
        percent(load["most_local_percent"]) if first else "",
        f"spill, N = {load['bound']}" if name == "spill" else name,
        percent(_local(turns)),
        f"{_text(times['p50'])} ms",
        f"{_text(p99)} ms ({_text(p99, min)} … {_text(p99, max)})",
        f"{_text(times['p99.9'])} ms",
        str(sum(turn["overflows"] for turn in turns)),
        str(sum(sum(turn["failed"].values()) for turn in turns)),
    )
    return f"| {' | '.join(cells)} |".replace("%", " %").replace("  %", " %")


def _events_table(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    ends = list(dict.fromkeys(end for one in found.values() for end in one["ends"]))
    ends.sort(key=lambda end: end != "answered")
    events = {name: sum(one["events"].values()) for name, one in found.items()}
    yield f"| | {' | '.join(found)} |"
    yield f"|---|{'--:|' * len(found)}"
    rows: dict[str, list[str]] = {
        "connections": [f"{sum(one['ends'].values()):,}" for one in found.values()],
        "events": [str(events[name]) for name in found],
    }
    for end in ends:
        rows[end] = [
            f"{count:,} ({percent(share(count, sum(one['ends'].values())), 3)})".replace("%", " %")
            for one in found.values()
            for count in [one["ends"].get(end, 0)]
        ]
    for name, title in {
        "answers": "answers that the program counted",
        "runs": "runs of it that the kernel counted",
        "selected": "sockets that it selected",
        "by_socket": "the same, added up by socket",
    }.items():
        rows[title] = [f"{one[name]:,}" if one.get(name) else "" for one in found.values()]
    for title, cells in rows.items():
        yield f"| {title} | {' | '.join(cells)} |"


#: The pages, and what goes into each.
PAGES = {"generated/spill.md": tables, "guides/attach.md": short_table}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure these parts.")
@click.option("--redraw", is_flag=True, help="Measure nothing: read spill.json.")
def main(*, only: tuple[str, ...], redraw: bool) -> None:
    """Write the figures and the page."""
    data = DOCS / "generated/spill.json"
    found: dict[str, Any] = json.loads(data.read_text()) if data.exists() else {}
    for part in () if redraw else only or PARTS:
        found[part] = {"commit": commit(), **measure(part)}
        # Also if the next one does not come to its end.
        data.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for name, lines in PAGES.items():
        page = DOCS / name
        page.write_text(filled(page.read_text("utf-8"), "spill", lines(found)), encoding="utf-8")
    if missing := [part for part in PARTS if part not in found]:
        print(f"not measured yet: {', '.join(missing)}", file=sys.stderr)


if __name__ == "__main__":
    main()
