"""Where the kernel's functions lie, from /proc/kallsyms, or sooner where BPF can ask."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.machine.capabilities import held

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

KALLSYMS = Path("/proc/kallsyms")
READ_SIZE = 1 << 20

COLUMNS = ("address", "letter", "name")

#: The letters of functions, as nm prints them.
TEXT = {b"t", b"T", b"w", b"W"}


def function_ranges(names: Collection[str], kallsyms: Path | None = None) -> list[tuple[int, int]]:
    """The address ranges [begin, end) of some functions of the kernel proper.

    A function that the compiler cloned or split (``name.isra.0``, ``name.cold``) has a range
    for each part. The file is in order of address, so a function ends where the next line
    begins. Functions that do not exist are left out, and so is everything when the kernel
    hides addresses (kptr_restrict).

    Args:
        names: The functions.
        kallsyms: The file to read. If None, the kernel is asked by BPF, and /proc/kallsyms is read
            only where that does not tell: the kernel takes 50 ms to write it.
    """
    if kallsyms is None:
        with suppress(LocalityError):
            from locality.bpf import symbols as asked  # noqa: PLC0415 - it loads libbpf

            return asked.function_ranges(names)
    symbols = _read(kallsyms or KALLSYMS)
    ranges = (_range(symbols, place) for name in names for place in _places(symbols, name))
    return sorted((begin, end) for begin, end in ranges if 0 < begin < end)


def functions(kallsyms: Path = KALLSYMS) -> frozenset[str]:
    """The names of all functions of the kernel proper, as they are, whatever it hides."""
    lines = (line.split() for line in _read(kallsyms).splitlines())
    # A fourth word is the name of a module.
    return frozenset(
        words[2].decode() for words in lines if len(words) == len(COLUMNS) and words[1] in TEXT
    )


def why_hidden(restrict: Path = Path("/proc/sys/kernel/kptr_restrict")) -> str:
    """Why the addresses of functions read as zeros, and what shows them (kallsyms_show_value)."""
    value = restrict.read_text("ascii").strip() if restrict.exists() else "0"
    if value in {"0", "1"} and not held()["CAP_SYSLOG"]:
        return "this process has no CAP_SYSLOG"
    return f"sysctl kernel.kptr_restrict is {value}; 1 shows them to root"


def _read(kallsyms: Path) -> bytes:
    """The whole file, which the kernel writes while it is read: large reads are twice as fast."""
    with kallsyms.open("rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(READ_SIZE) or b"", b""))


def _places(symbols: bytes, name: str) -> Iterator[int]:
    """Where the name of a function, or of a part of it, stands; a regex takes 5 times longer."""
    wanted = b" " + name.encode()
    place = symbols.find(wanted)
    while place >= 0:
        behind = place + len(wanted)
        rest = symbols[behind : symbols.find(b"\n", behind)]
        # ".cold" is a part; a tab stands before the name of a module.
        is_it = not rest or (rest.startswith(b".") and b"\t" not in rest)
        if is_it and symbols[place - 1 : place] in TEXT:
            yield place
        place = symbols.find(wanted, behind)


def _range(symbols: bytes, place: int) -> tuple[int, int]:
    """From the address on this line to that on the next; the last line ends nowhere."""
    line = symbols.rfind(b"\n", 0, place) + 1
    following = symbols.find(b"\n", place) + 1
    end = symbols[following : symbols.find(b" ", following)] if following else b""
    return int(symbols[line : symbols.find(b" ", line)], 16), int(end or b"0", 16)
