"""`make bench`: every tool side by side, here and in guests; writes JSON, a page and a CSV file.

    python -m benchmarks.side_by_side [--short] [--json FILE] [--page FILE]

What this machine's kernel allows runs here. What it does not, bcc above all, runs in a guest
with Debian's 6.1, which has kprobes, fentry, and headers that match it; two more guests, with one
CPU and with eight, show how costs grow. A guest that does not come to its end is told of,
and what it would have measured is left out. Targets that are missed are printed, and no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks import performance_page
from benchmarks.measure import Figure
from benchmarks.programs import SOURCES, compile_native
from benchmarks.targets import GROWTH, GUEST, GUESTS, HERE, comparisons
from locality.errors import LocalityError
from tests.checkout import CHECKOUT, commit
from tests.vm.guest import run
from tests.vm.kernel_images import CannotBoot, kernel_headers, kernel_image

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL = "6.1"
#: Seconds of the whole, and when no contestant is started any more here and in a guest. bcc takes
#: most of a guest's, for a compiler is what is emulated there.
HERE_S, GUEST_S, GROWTH_S = 240.0, 480.0, 50.0
#: To boot, and for the contestant that was started last.
GRACE_S = 240.0
#: When a guest is ended whatever it does; what it has written by then counts.
WHOLE_S = 1500.0
PARTS_HERE = ("floors", "tracers", "calls", "counting", "pingpong", "lab")
PARTS_SHORT = ("floors", "tracers", "calls", "counting")
PARTS_IN_GUEST = ("floors", "tracers", "counting")
PROGRAMS = ("calls.c", "lines.c", "pingpong.c", "storm.c")

# tracefs is not mounted on every machine, and bpftrace does not mount it. Nobody else sees this.
_WITH_TRACEFS = """
[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
exec "$@"
"""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.side_by_side")
    parser.add_argument("--short", action="store_true", help="few rounds: does everything run?")
    parser.add_argument("--json", type=Path, default=CHECKOUT / ".cache/performance.json")
    parser.add_argument("--page", type=Path, default=CHECKOUT / "docs/generated/performance.md")
    parser.add_argument(
        "--from", dest="found", type=Path, help="measure nothing: print and write what FILE has"
    )
    parser.add_argument("--only", nargs="*", choices=(HERE, *GUESTS), help="just these places")
    arguments = parser.parse_args()
    if arguments.found:
        found = json.loads(arguments.found.read_text())
    else:
        places = arguments.only or (HERE, GUEST, *GROWTH)
        found = _measure(places, short=arguments.short)
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    measured = {place: _figures(one) for place, one in found["places"].items()}
    lines = comparisons(measured)
    print()
    for line in performance_page.table(lines):
        print(line)
    arguments.page.write_text("\n".join(performance_page.page(found, lines)) + "\n")
    every_figure = arguments.page.with_suffix(".csv")
    every_figure.write_text(performance_page.figures_csv(found))
    print(
        f"\n{found['seconds']:.0f} s; wrote {arguments.page}, {every_figure} and {arguments.json}"
    )
    return 0


def _measure(places: Sequence[str], *, short: bool) -> dict[str, Any]:
    begin = time.monotonic()
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    with TemporaryDirectory(prefix="locality-bench-") as directory:
        scratch = Path(directory)
        for place in places:
            print(f"\n== {performance_page.PLACES[place]}", flush=True)
            share = scratch / place
            programs = share / "programs"
            programs.mkdir(parents=True)
            try:
                for source in PROGRAMS:
                    compile_native(SOURCES / source, programs)
                if place == HERE:
                    found[place] = _here(share, short=short)
                else:
                    left = begin + WHOLE_S - time.monotonic()
                    found[place] = _guest(share, place, left, short=short)
            except (CannotBoot, LocalityError) as reason:
                missing[place] = str(reason)
                print(f"left out: {reason}", flush=True)
    seconds = time.monotonic() - begin
    return {"commit": commit(), "seconds": seconds, "places": found, "missing": missing}


def _here(share: Path, *, short: bool) -> dict[str, Any]:
    environment = {**os.environ}
    modules = Path("/lib/modules") / platform.release()
    if not (modules / "build").exists():
        try:
            environment["LOCALITY_OTHER_HEADERS"] = str(kernel_headers(KERNEL))
        except CannotBoot as reason:
            print(f"bcc is left out here: {reason}", flush=True)
    parts = PARTS_SHORT if short else PARTS_HERE
    command = _command(share / "found.json", share / "programs", "here", HERE_S, parts, short=short)
    argv = ["unshare", "--mount", "sh", "-c", _WITH_TRACEFS, "sh", *command]
    done = subprocess.run(argv, check=False, env=environment, cwd=CHECKOUT)
    return _read(share / "found.json", f"ended with {done.returncode}")


def _guest(share: Path, cpus: str, left: float, *, short: bool) -> dict[str, Any]:
    plan, seconds = ("guest", GUEST_S) if cpus == GUEST else ("growth", GROWTH_S)
    inside = Path("/run/share")
    command = _command(
        inside / "found.json", inside / "programs", plan, seconds, PARTS_IN_GUEST, short=short
    )
    # The guest has all files of this machine there.
    headers = f"/run/host{kernel_headers(KERNEL)}"
    line = f"BCC_KERNEL_SOURCE={headers} exec {shlex.join(['python', *command[1:]])}"
    ended = run(
        kernel_image(KERNEL),
        line,
        share=share,
        timeout=min(seconds + GRACE_S, left),
        cpus=cpus,
        follow=True,
    )
    found = _read(
        share / "found.json", f"the guest ended with {ended.status}: {ended.output[-500:]}"
    )
    found["seconds"] = ended.seconds
    return found


def _command(
    file: Path, programs: Path, plan: str, seconds: float, parts: Sequence[str], *, short: bool
) -> list[str]:
    amount = "short" if short else plan
    return [
        *(sys.executable, "-m", "benchmarks", *parts),
        *("--json", str(file), "--programs", str(programs)),
        *("--plan", amount, "--seconds", str(seconds)),
    ]


def _read(file: Path, otherwise: str) -> dict[str, Any]:
    if not file.exists():
        raise LocalityError(otherwise)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _figures(place: dict[str, Any]) -> list[Figure]:
    return [
        Figure(one["name"], one["values"], one["unit"])
        for figures in place["benchmarks"].values()
        for one in figures
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
