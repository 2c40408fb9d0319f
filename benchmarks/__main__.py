"""``python -m benchmarks [NAME]... [--json FILE]``: needs root, prints ratios first."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click

from benchmarks.plan import PLANS, Plan
from locality import __version__
from locality.errors import LocalityError

#: Ours alone.
ALONE = (
    *("drain", "probes", "pingpong", "start", "lab", "sinks", "dashboard", "load", "follow"),
    *("top", "cost", "skb_filters", "spill", "exporter"),
)
#: Beside what people would otherwise run, or the least that can be done.
SIDE_BY_SIDE = ("floors", "tracers", "calls", "counting")
NAMES = (*SIDE_BY_SIDE, *ALONE)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--json", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@click.option("--plan", "amount", type=click.Choice(list(PLANS)), default="here", show_default=True)
@click.option("--seconds", type=float, default=float("inf"), help="Start no contestant later.")
@click.option("--programs", type=click.Path(path_type=Path), help="Compiled already.")
def main(
    names: tuple[str, ...],
    file: Path | None,
    amount: str,
    seconds: float,
    programs: Path | None,
) -> None:
    """Measure what locality costs on this machine."""
    ends = time.monotonic() + seconds
    left = sum(name in SIDE_BY_SIDE for name in names or NAMES)
    found = {}
    machine = {
        "kernel": platform.release(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "locality": __version__,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    for name in names or NAMES:
        module = import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').partition(chr(10))[0]}", flush=True)
        begin = time.monotonic()
        figures = []
        with tempfile.TemporaryDirectory() as scratch:
            arguments: tuple[Plan, ...] = ()
            if programs is not None:
                shutil.copytree(programs, scratch, dirs_exist_ok=True)
            if name in SIDE_BY_SIDE:
                # What one leaves of its share is for those that follow.
                share = (ends - begin) / left
                left -= 1
                arguments = (replace(PLANS[amount], ends=begin + share),)
            for figure in module.run(Path(scratch), *arguments):
                print(f"  {figure}", flush=True)
                figures.append(figure.as_dict())
        print(f"  ({time.monotonic() - begin:.0f} s)")
        found[name] = figures
        if file is not None:  # also if the next does not come to its end
            file.write_text(json.dumps({"machine": machine, "benchmarks": found}, indent=1) + "\n")


def _processor() -> str:
    name = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return name[1] if name else platform.machine()


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, click.ClickException) as error:
        sys.exit(f"benchmarks: {error}")
