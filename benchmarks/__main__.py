"""``python -m benchmarks [NAME]... [--json FILE]``: needs root, prints ratios first."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import click

from locality import __version__
from locality.errors import LocalityError

NAMES = ("drain", "probes", "pingpong", "start", "lab", "sinks", "dashboard", "load", "follow")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--json", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def main(names: tuple[str, ...], file: Path | None) -> None:
    """Measure what locality costs on this machine."""
    found = {}
    machine = {
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "locality": __version__,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for name in names or NAMES:
        module = import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').partition(chr(10))[0]}")
        begin = time.monotonic()
        figures = []
        with tempfile.TemporaryDirectory() as scratch:
            for figure in module.run(Path(scratch)):
                print(f"  {figure}", flush=True)
                figures.append(figure.as_dict())
        print(f"  ({time.monotonic() - begin:.0f} s)")
        found[name] = figures
    if file is not None:
        file.write_text(json.dumps({"machine": machine, "benchmarks": found}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, click.ClickException) as error:
        sys.exit(f"benchmarks: {error}")
