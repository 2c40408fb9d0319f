"""The least that a tracer in Python costs that prints a line for each connection.

To start: Python, click and numpy, and libbpf, with nothing loaded into the kernel. For a line: to
format its fields by printf(3) in C. What programs on hooks cost that do nothing is measured where
ours are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.plan import HERE
from benchmarks.programs import SOURCES, compile_native
from benchmarks.start import ready_after, started
from benchmarks.tracers import PER, Found
from locality.bpf.libbpf import SONAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.measure import Figure
    from benchmarks.plan import Plan

#: As figures call it, in the place of a contestant.
FLOOR = "floor"
#: As the command line imports numpy: with one thread for linear algebra.
IMPORTS = (
    "import ctypes, os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; import click, numpy; "
    f"ctypes.CDLL({SONAME!r})"
)
LINES = 200_000


def run(scratch: Path, plan: Plan = HERE) -> Iterator[Figure]:
    found = Found()
    ready = scratch / "ready"
    os.mkfifo(ready)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(scratch / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", ready_after(IMPORTS), str(ready)]
    started(command, environment, ready)  # compiles
    lines = scratch / "lines"
    if not lines.exists():
        compile_native(SOURCES / "lines.c", scratch)
    for _ in range(plan.lives):
        start = started(command, environment, ready)
        found.add("exec to attached", FLOOR, start.seconds, "s")
        found.add("CPU time until attached", FLOOR, start.cpu_seconds, "s")
        found.add("largest resident size", FLOOR, start.mb, "MB")
        words = [str(lines), str(LINES), str(scratch / "written")]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found.add(f"user CPU per {PER:,}", FLOOR, int(said) / 1e9 * PER / LINES, "s")
    yield from found.figures()
