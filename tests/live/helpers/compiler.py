"""Servers in C that some tests need, compiled where the test runs."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: clang is where the package can be built; a guest of another architecture has gcc.
COMPILER = shutil.which("clang") or "gcc"


def compile_program(source: Path, target: Path, *options: str) -> None:
    """Compile a program of one file.

    Args:
        source: The file.
        target: The program.
        options: More for the compiler, such as a library.
    """
    subprocess.run([COMPILER, "-O1", "-o", target, source, *options], check=True)
