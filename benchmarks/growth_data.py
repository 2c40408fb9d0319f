"""What recordings, reports and outputs cost as machines and recordings grow, before and after.

    python -m benchmarks.growth_data --before DIR [PART]... [--page FILE]

DIR is a checkout of the version to compare with. Each figure is measured in a process of its own,
in turns: before and after, then after and before. Figures are CPU time and memory, which a busy
machine changes less than time. What is measured is kept in .cache/growth-data.json, part by part;
the page is written of all parts that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.measure import number, ratios

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

AFTER = Path(__file__).parents[1]
JOBS = Path(__file__).with_name("growth_data_jobs.py")
KEPT = AFTER / ".cache/growth-data.json"
SCRATCH = Path(tempfile.gettempdir()) / "locality-growth-data"
SIDES = ("before", "after")


@dataclass(frozen=True)
class Wanted:
    """A figure of a job.

    Attributes:
        key: What the job calls it.
        text: What it is, for people.
        unit: Of its values.
        goal: The most it should be; None for no goal.
    """

    key: str
    text: str
    unit: str
    goal: float | None = None


@dataclass(frozen=True)
class Case:
    """A job that is measured on both sides.

    Attributes:
        job: Words of `growth_data_jobs`; ``{file}`` begins a file's name of its side, ``{before}``
            one of the side before.
        figures: What is kept of it.
        rounds: How often.
        sides: Where it can be run.
    """

    job: str
    figures: tuple[Wanted, ...]
    rounds: int = 5
    sides: tuple[str, ...] = SIDES

    @property
    def name(self) -> str:
        """In the file of what was measured."""
        return self.job


def _recording_cases() -> Iterator[Case]:
    kinds = {
        "all": "all pairs, as by chance around 2 packets",
        "busy": "all pairs, 1 to 499 packets",
        "some": "a tenth of the pairs, around 100 packets",
    }
    goals = {64: 15.0, 512: 600.0}
    for cpus in (64, 512):
        for kind, words in kinds.items():
            size = Wanted(
                "MB an hour", f"`skb --record`, {cpus} CPUs, {words}", "MB/hour", goals[cpus]
            )
            time = Wanted("ms an interval", f"CPU time of it, {cpus} CPUs", "ms/interval")
            least = Wanted("least", "its entropy: no file can be smaller", "MB/hour")
            figures = (size, least, time) if kind == "all" else (size, least)
            yield Case(f"record-skb {{file}}-{kind}-{cpus} {cpus} {kind} 20", figures, 3)
    yield Case(
        "record-accepts {file}-accepts-1e6 1000000",
        (
            Wanted("bytes each", "`accept --record`, size of a connection", "bytes"),
            Wanted("us each", "CPU time of it", "us"),
            Wanted("MB", "memory of it", "MB"),
        ),
        3,
    )
    yield Case("record-accepts {file}-accepts-5e3 5000", (), 1)
    yield Case("record-accepts {file}-accepts-1e7 10000000", (), 1)


def _page_and_numbers(
    what: str,
    files: str,
    goals: tuple[float | None, float | None],
    **more: Any,  # noqa: ANN401 - of the case
) -> Case:
    return Case(
        f"report-page {{file}}.html {files}",
        (
            Wanted("s", f"`report` of {what}", "s", goals[0]),
            Wanted("MB", "memory of it", "MB", goals[1]),
        ),
        **more,
    )


def _reading(what: str, files: str, goal: float | None, **more: Any) -> Case:  # noqa: ANN401
    words = f"`report` of {what}, Markdown without figures"
    return Case(f"report-numbers {{file}}.md {files}", (Wanted("s", words, "s", goal),), **more)


PARTS: Mapping[str, tuple[Case, ...]] = {
    "recordings": (*_recording_cases(),),
    "reports": (
        _page_and_numbers("5,000 accepts", "{file}-accepts-5e3", (1.2, None)),
        _page_and_numbers("20 intervals of packets, 512 CPUs", "{file}-all-512", (None, 350)),
        _reading("20 intervals of packets, 512 CPUs", "{file}-all-512", 2),
        Case(
            "report-numbers {file}.md {before}-all-512",
            (Wanted("s", "the same of a recording of the version before", "s"),),
            sides=("after",),
        ),
    ),
    "long": (_page_and_numbers("10 million accepts", "{file}-accepts-1e7", (None, 600), rounds=3),),
    "longest": (
        Case("record-accepts {file}-accepts-5e7 50000000", (), 1),
        Case(
            "report-page {file}.html {file}-accepts-5e7",
            (
                Wanted("s", "`report` of 50 million accepts", "s"),
                Wanted("MB", "memory of it", "MB", 600),
            ),
            1,
        ),
    ),
    "frames": (
        Case(
            "load {file}-accepts-1e7",
            (
                Wanted("s", "`locality.load` of 10 million accepts", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
        ),
        Case(
            "load {file}-accepts-1e7 time cpu rxcpu",
            (
                Wanted("s", "`locality.load` of three columns of it", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
            ("after",),
        ),
        Case(
            "chunks {file}-accepts-1e7",
            (
                Wanted("s", "`locality.load_chunks` of it, all columns", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
            ("after",),
        ),
        Case(
            "load {file}-all-512",
            (
                Wanted("s", "`locality.load` of 20 intervals of packets, 512 CPUs", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
        ),
    ),
    "exports": tuple(
        Case(
            f"export {{file}}-accepts-1e6 {{file}}.{format_}",
            (
                Wanted("s a million", f"`export` of a million accepts as {format_}", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
        )
        for format_ in ("csv", "json", "parquet")
    ),
    "outputs": (
        *(
            Case(
                f"sink {name} {size}",
                (Wanted("us each", f"`accept --format {name}`, batches of {size:,}", "us/accept"),),
            )
            for name in ("classic", "csv", "json", "text")
            for size in (100, 1_000, 100_000)
        ),
        Case(
            "sink summary 1000",
            (Wanted("us each", "what `accept --summary` does instead", "us/accept"),),
        ),
    ),
    "figures": tuple(
        Case(
            f"hot-pairs {cpus}",
            (
                Wanted("pairs", f"hot pairs to be seen of 60, heat map of {cpus:,} CPUs", "pairs"),
                Wanted("s", "CPU time of drawing it", "s"),
            ),
            3,
        )
        for cpus in (64, 512, 1024)
    ),
}


def main() -> None:
    """Measure, keep, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth_data")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--missing", action="store_true", help="only what is not kept yet")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none later")
    parser.add_argument("--page", type=Path, default=AFTER / "docs/generated/growth-data.md")
    arguments = parser.parse_args()
    if {*arguments.parts} - {*PARTS}:
        parser.error(f"the parts are {', '.join(PARTS)}")
    ends = time.monotonic() + arguments.seconds
    found: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if arguments.before:
        SCRATCH.mkdir(exist_ok=True)
        checkouts = {"before": arguments.before.resolve(), "after": AFTER}
        found["machine"] = {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "before": _commit(checkouts["before"]),
            "after": _commit(AFTER),
        }
        for part in arguments.parts or PARTS:
            for case in PARTS[part]:
                if arguments.missing and case.name in found:
                    continue
                if time.monotonic() > ends:
                    sys.exit("there is more to measure: run it again with --missing")
                found[case.name] = _measure(case, checkouts)
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(found, indent=1) + "\n")
                for line in _rows(case, found):
                    print(line, flush=True)
    arguments.page.write_text("\n".join(_page(found)) + "\n")


def _measure(case: Case, checkouts: Mapping[str, Path]) -> dict[str, list[dict[str, float]]]:
    values: dict[str, list[dict[str, float]]] = {side: [] for side in case.sides}
    for turn in range(case.rounds):
        for side in case.sides if turn % 2 == 0 else case.sides[::-1]:
            words = case.job.format(file=SCRATCH / side, before=SCRATCH / "before")
            done = subprocess.run(
                [sys.executable, str(JOBS), *words.split()],
                env={**os.environ, "PYTHONPATH": str(checkouts[side])},
                cwd="/",
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            values[side].append(json.loads(done.stdout))
    return values


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def _rows(case: Case, found: Mapping[str, Any]) -> Iterator[str]:
    """A row of the page for each figure of a case."""
    values = found.get(case.name)
    if values is None:
        return
    for wanted in case.figures:
        sides = {side: [one[wanted.key] for one in values[side]] for side in case.sides}
        before = number(median(sides["before"])) if "before" in sides else "-"
        after = median(sides["after"])
        times = "-"
        if "before" in sides and wanted.unit != "pairs":
            times = f"{number(median(ratios(sides['before'], sides['after'])))} x"
        goal = "" if wanted.goal is None else f"<= {wanted.goal:g}"
        if wanted.goal is not None and after > wanted.goal:
            goal += ", missed"
        yield f"| {wanted.text} | {wanted.unit} | {before} | {number(after)} | {times} | {goal} |"


TITLES = {
    "recordings": "Recordings",
    "reports": "Reports",
    "frames": "DataFrames",
    "exports": "Exports",
    "outputs": "Output of accepts",
    "figures": "Figures",
}

_METHOD = """\
`make growth-data` measures this again and overwrites this page; `BASE` is a checkout of the version
before. Each figure is the median of its rounds, and comes from a process of its own. The versions
take turns, and *ratio* is the median of before divided by after, round by round. Times are CPU time
of the whole process with its start, except those of recording, export and output. Memory is the
largest resident size.

The machines of 64, 512 and 1,024 CPUs are made up: nodes of 64 CPUs, caches for 8. The packets of
pairs of CPUs are random, an interval is a second. No file can be smaller than the entropy of the
counts that it holds.
"""


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield "# How recordings, reports and outputs grow"
    yield ""
    yield from _METHOD.splitlines()
    yield ""
    yield (
        f"Before: {machine['before']}; after: {machine['after']}. Linux {machine['kernel']}, "
        f"{machine['cpus']} CPUs, Python {machine['python']}."
    )
    for part, title in TITLES.items():
        cases: list[Case] = [*PARTS[part]]
        if part == "reports":
            cases += [*PARTS["long"], *PARTS["longest"]]
        rows = [row for case in cases for row in _rows(case, found)]
        if rows:
            yield from ("", f"## {title}", "")
            yield "| what | unit | before | after | ratio | goal |"
            yield "|---|---|---|---|---|---|"
            yield from rows


if __name__ == "__main__":
    main()
