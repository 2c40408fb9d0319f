"""How long `locality fleet` takes on simulated hosts, and whether it finds the planted ones.

    python -m benchmarks.fleet_data DIR --hosts 1000
    python -m benchmarks.fleet DIR [--engine spark:local-cluster[2,1,1024]]

Prints seconds (also of CPU time), the highest memory, and whether the bad hosts come first with the
cause that was planted in each.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def run(root: Path, folder: Path, *options: str) -> dict[str, Any]:
    """Write page and JSON of a data set into a folder, each by a process of its own.

    Returns:
        What the JSON says.
    """
    for name in ("fleet.html", "fleet.json"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        command = [sys.executable, "-m", "locality", "fleet", str(root), "-o", str(folder / name)]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds = time.monotonic() - began
        print(f"{name}: {seconds:.1f} s, {cpu:.1f} s of CPU, {after.ru_maxrss / 1024:.0f} MiB")
    found: dict[str, Any] = json.loads((folder / "fleet.json").read_text())
    return found


def check(found: dict[str, Any], planted: dict[str, str]) -> bool:
    """Whether the planted hosts come first, each with its cause."""
    first = found["hosts"][: len(planted)]
    right = [one["cause"] == planted.get(one["host"], "").lower() for one in first]
    print(f"{sum(right)} of {len(planted)} planted hosts come first with their cause")
    return all(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--engine", default="duckdb")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(asked.root, Path(folder), "--engine", asked.engine)
    planted = json.loads((asked.root / "planted.json").read_text())
    sys.exit(not check(found, planted))


if __name__ == "__main__":
    main()
