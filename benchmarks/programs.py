"""C compiled on the spot: for BPF, and for this machine.

clang is there wherever the package can be built. Nothing compiled here is kept.
"""

from __future__ import annotations

import platform
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hatch_build import CFLAGS, TARGET_ARCH
from locality.bpf.libbpf import lib
from locality.bpf.object import Object
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

SOURCES = Path(__file__).parent


def compile_native(source: Path, scratch: Path) -> Path:
    """Compile a C program for this machine.

    Args:
        source: The file.
        scratch: Where the program goes.

    Returns:
        The program.
    """
    target = scratch / source.stem
    _clang("-O2", "-Wall", "-Werror", str(source), "-o", str(target))
    return target


def open_bpf(source: Path, scratch: Path, *options: str) -> Object:
    """Compile a BPF program as the package's own are, and open the object.

    Args:
        source: The file.
        scratch: Where the object goes.
        options: More for clang, such as ``-DRECORDS=7``.
    """
    name = source.name.removesuffix(".bpf.c")
    target = scratch / f"{name}.bpf.o"
    arch = f"-D__TARGET_ARCH_{TARGET_ARCH[platform.machine()]}"
    include = str(SOURCES.parent / "locality" / "probes")
    _clang(*CFLAGS, arch, "-I", include, *options, "-c", str(source), "-o", str(target))
    handle = lib.bpf_object__open_file(str(target).encode(), None)
    if not handle:
        raise LocalityError(f"the object {target.name} cannot be read")
    return Object(name, handle)


def open_empty(of: Object, programs: Collection[str], scratch: Path) -> Object:
    """Load programs that do nothing, for the hooks of others.

    Args:
        of: An object.
        programs: Those of its programs whose hooks are meant; the empty ones have their names.
        scratch: Where source and object go.

    Returns:
        The empty programs, loaded and not yet attached; for the caller to close.
    """
    handles = of.programs
    lines = ['__attribute__((section("license"), used)) char LICENSE[] = "GPL";']
    for name in programs:
        section = lib.bpf_program__section_name(handles[name]).decode()
        lines.append(f'__attribute__((section("{section}"), used))')
        lines.append(f"int {name}(void *ctx) {{ return 0; }}")
    source = scratch / "empty.bpf.c"
    source.write_text("\n".join(lines) + "\n")
    empty = open_bpf(source, scratch)
    try:
        empty.load()
    except BaseException:
        empty.close()
        raise
    return empty


@contextmanager
def attached(obj: Object, programs: Collection[str]) -> Iterator[None]:
    """Have a loaded object's programs attached while the block runs."""
    obj.attach(programs)
    try:
        yield
    finally:
        obj.detach()


def _clang(*arguments: str) -> None:
    try:
        subprocess.run(["clang", *arguments], check=True)
    except FileNotFoundError:
        raise LocalityError("the benchmarks need clang: apt-get install clang") from None
    except subprocess.CalledProcessError as error:
        raise LocalityError(f"clang refused {arguments[-3]}") from error
