"""What locality costs as machines, groups and recordings grow, before and after.

    python -m benchmarks.growth --before DIR [PART]... [--page FILE]

DIR is a checkout of the version to compare with. Each figure is measured in a process of its own,
in turns: before and after, then after and before. Figures are CPU time and memory, which a busy
machine changes less than time. What is measured is kept in .cache/growth.json, part by part;
the page is written of all parts that are there.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.growth_cases import PARTS, SIDES, Case, Wanted
from benchmarks.measure import number, ratios
from tests.checkout import CHECKOUT as AFTER
from tests.checkout import commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIVE = ("groups", "maps", "packets", "start", "steady")
JOBS = Path(__file__).with_name("growth_data_jobs.py")
LIVE_JOBS = Path(__file__).with_name("growth_live_jobs.py")
KEPT = AFTER / ".cache/growth.json"
#: Recordings of each side; parts that are measured later need those of earlier ones.
SCRATCH = AFTER / ".cache/growth"


def main() -> None:
    """Measure, keep, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--missing", action="store_true", help="only what is not kept yet")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none later")
    parser.add_argument("--page", type=Path, default=AFTER / "docs/generated/growth.md")
    arguments = parser.parse_args()
    if {*arguments.parts} - {*PARTS}:
        parser.error(f"the parts are {', '.join(PARTS)}")
    ends = time.monotonic() + arguments.seconds
    found: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if arguments.before:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        checkouts = {"before": arguments.before.resolve(), "after": AFTER}
        found["machine"] = {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "before": commit(checkouts["before"]),
            "after": commit(),
        }
        # Or each start compiles what changed, if it may not keep it.
        for checkout in checkouts.values():
            compileall.compile_dir(checkout / "locality", quiet=1)
        for part in arguments.parts or PARTS:
            for case in PARTS[part]:
                if arguments.missing and case.name in found:
                    continue
                if time.monotonic() > ends:
                    sys.exit("there is more to measure: run it again with --missing")
                jobs = LIVE_JOBS if part in LIVE else JOBS
                found[case.name] = _measure(case, jobs, checkouts)
                KEPT.parent.mkdir(exist_ok=True)
                KEPT.write_text(json.dumps(found, indent=1) + "\n")
                for line in _rows(case, found):
                    print(line, flush=True)
    arguments.page.write_text("\n".join(_page(found)) + "\n")


def _measure(
    case: Case, jobs: Path, checkouts: Mapping[str, Path]
) -> dict[str, list[dict[str, float]]]:
    values: dict[str, list[dict[str, float]]] = {side: [] for side in case.sides}
    for turn in range(case.rounds):
        for side in case.sides if turn % 2 == 0 else case.sides[::-1]:
            words = case.job.format(file=SCRATCH / side, before=SCRATCH / "before")
            done = subprocess.run(
                [sys.executable, str(jobs), *words.split()],
                env={**os.environ, "PYTHONPATH": str(checkouts[side])},
                cwd="/",
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            values[side].append(json.loads(done.stdout))
    return values


def _rows(case: Case, found: Mapping[str, Any]) -> Iterator[str]:
    """A row of the page for each figure of a case."""
    values = found.get(case.name)
    if values is None:
        return
    sides = {side: values[side] for side in SIDES if side in values}
    for wanted in case.figures:
        after = [one[wanted.key] for one in sides["after"]]
        before, times = "-", "-"
        if "before" in sides:
            earlier = [one[wanted.key] for one in sides["before"]]
            before = number(median(earlier))
            if wanted.unit != "pairs":
                times = f"{number(median(ratios(earlier, after)))} x"
        elif wanted.stated is not None:
            before = f"{number(wanted.stated)} \\*"
            times = f"{number(wanted.stated / median(after))} x"
        goal = _goal(wanted, median(after))
        row = (wanted.text, wanted.unit, before, number(median(after)), times, *goal)
        yield f"| {' | '.join(row)} |"


def _goal(wanted: Wanted, value: float) -> tuple[str, str]:
    if wanted.goal is None:
        return "", ""
    return f"<= {wanted.goal:g}", "met" if value <= wanted.goal else "**missed**"


TITLES = {
    "groups": "Groups",
    "maps": "Maps for large machines",
    "packets": "Readings of packets",
    "recordings": "Recordings",
    "reports": "Reports",
    "frames": "DataFrames",
    "exports": "Exports",
    "figures": "Figures",
    "start": "Start",
    "steady": "Steady runs",
    "outputs": "Output of accepts",
}
MORE = {"reports": ("long", "longest")}

_METHOD = """\
`make growth` measures this again and overwrites this page; `BASE` is a checkout of the version
before. Each figure is the median of its rounds, and comes from a process of its own. The versions
take turns, and *ratio* is the median of before divided by after, round by round. Times are CPU time
of the whole process with its start, except those of readings, recording, export, output and
followers. CPU time on a busy machine is longer than on an idle one; ratios change less. Memory is
the largest resident size, if nothing else is said.

A figure with \\* was measured earlier, on the same machine and in the same way, with the version
before; it was not measured again beside the new one, because it takes minutes.

The machines of 64, 512 and 1,024 CPUs are made up: nodes of 64 CPUs, caches for 8. The packets of
pairs of CPUs are random, an interval is a second. No file can be smaller than the entropy of the
counts that it holds: where that is above a goal, no format can reach the goal.
"""


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield "# How costs grow"
    yield ""
    yield from _METHOD.splitlines()
    yield ""
    yield (
        f"Before: {machine['before']}; after: {machine['after']}. Linux {machine['kernel']}, "
        f"{machine['cpus']} CPUs, Python {machine['python']}."
    )
    for part, title in TITLES.items():
        cases = [case for one in (part, *MORE.get(part, ())) for case in PARTS[one]]
        rows = [row for case in cases for row in _rows(case, found)]
        if rows:
            yield from ("", f"## {title}", "")
            yield "| what | unit | before | after | ratio | goal | |"
            yield "|---|---|--:|--:|--:|---|---|"
            yield from rows


if __name__ == "__main__":
    main()
