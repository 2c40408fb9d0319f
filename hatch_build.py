"""Compile the BPF probes, and the program that is the lab's cable.

The build back end calls this as a hook, so that a wheel carries the objects and
the target machine needs neither clang nor kernel headers. clang compiles BPF for every
architecture on any machine, so each build makes the objects of all of them.
``python hatch_build.py`` does the same for a source checkout, and only for what is out
of date.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROBES = Path(__file__).parent / "locality" / "probes"
WIRE = Path(__file__).parent / "locality" / "lab" / "tap_wire.c"

# By what uname -m says: the name by which bpf_tracing.h and probes/architecture.h know whose
# registers they decode. Another one is a line here and a part of architecture.h, once there is a
# machine to measure it on.
TARGET_ARCH = {"x86_64": "x86", "aarch64": "arm64"}

# See probes/kernel_differences.h.
CAST = b"bpf_rdonly_cast"

CFLAGS = ["-g", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
CFLAGS += ["-target", "bpf", "-mcpu=v3"]
# Static: it runs with whatever C library the target machine has, or with none.
WIRE_CFLAGS = ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-static"]


def compile_probes() -> list[Path]:
    """Compile every probe for every architecture if its object is older than any source or header.

    Returns:
        The objects, compiled or already fresh: ``NAME.MACHINE.bpf.o``, and, for one that names a
        function that older kernels do not have, ``NAME-uncast.MACHINE.bpf.o`` without it.

    Raises:
        SystemExit: clang is missing or refused a source; the message says which.
    """
    newest = max(path.stat().st_mtime_ns for path in PROBES.glob("*.[ch]"))
    objects: list[Path] = []
    for source, machine in product(sorted(PROBES.glob("*.bpf.c")), TARGET_ARCH):
        arch = f"-D__TARGET_ARCH_{TARGET_ARCH[machine]}"
        flags = [*CFLAGS, arch, "-I", str(PROBES), "-c"]
        name = source.name.removesuffix(".bpf.c")
        for target, more in {
            source.with_name(f"{name}.{machine}.bpf.o"): [],
            source.with_name(f"{name}-uncast.{machine}.bpf.o"): ["-DWITHOUT_CAST"],
        }.items():
            if more and CAST not in objects[-1].read_bytes():
                break
            objects.append(target)
            if not target.exists() or target.stat().st_mtime_ns <= newest:
                _compile(source, target, [*flags, *more], link=True)
    for leftover in set(PROBES.glob("*.bpf.o")) - set(objects):  # of a source that is no more
        leftover.unlink()
    return objects


def compile_wire() -> Path:
    """Compile the lab's cable for this machine, if the program is older than its source.

    Returns:
        The program, compiled or already fresh.

    Raises:
        SystemExit: clang is missing or refused the source.
    """
    target = WIRE.with_suffix("")
    if not target.exists() or target.stat().st_mtime_ns <= WIRE.stat().st_mtime_ns:
        _compile(WIRE, target, WIRE_CFLAGS)
    return target


def _compile(source: Path, target: Path, flags: list[str], *, link: bool = False) -> None:
    # Under another name until it is whole: a program may be opening the old one.
    unfinished = target.with_name(f"{target.name}.new")
    try:
        subprocess.run(["clang", *flags, str(source), "-o", str(unfinished)], check=True)
    except FileNotFoundError:
        sys.exit("building locality needs clang and libbpf's headers (clang, libbpf-dev)")
    except subprocess.CalledProcessError:
        sys.exit(f"clang could not compile {source.name}")
    if link:
        _leave_out_dwarf(unfinished)
    unfinished.replace(target)


def _leave_out_dwarf(path: Path) -> None:
    """Have libbpf's linker write an object again: half as large, without what debuggers read.

    Raises:
        SystemExit: It is not there, or could not.
    """
    try:
        libbpf = ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        sys.exit(f"building locality needs libbpf (Debian: libbpf1): {error}")
    libbpf.bpf_linker__new.restype = ctypes.c_void_p
    linked = path.with_name(f"{path.name}.linked")
    linker = ctypes.c_void_p(libbpf.bpf_linker__new(str(linked).encode(), None))
    refused = (
        not linker.value
        or libbpf.bpf_linker__add_file(linker, str(path).encode(), None)
        or libbpf.bpf_linker__finalize(linker)
    )
    libbpf.bpf_linker__free(linker)
    if refused:
        sys.exit(f"libbpf's linker could not read {path.name}")
    linked.replace(path)


class ProbeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Build the objects before hatchling collects files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile, and mark the wheel as one for every machine.

        The objects are those of every architecture. The cable is a program for this one, and the
        lab does without it on another (`locality/lab/wires.py`). An index takes no wheel that is
        tagged for Linux on one architecture, unless it keeps the rules of manylinux.
        """
        if self.target_name == "sdist":
            return
        compile_probes()
        compile_wire()
        build_data["tag"] = "py3-none-any"


if __name__ == "__main__":
    compile_probes()
    compile_wire()
