"""The eBPF program of a group: its name, and what one of `attach-cbpf --spill` was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.spill.attached import Spill


class EbpfProgram(NamedTuple):
    """An eBPF program.

    Attributes:
        number: Its id.
        name: As its author called it, up to 15 bytes, printable; perhaps empty.
    """

    number: int
    name: str

    def __str__(self) -> str:
        return f"eBPF program {self.number}" + (f" ({self.name})" if self.name else "")


def named(number: int, name: bytes) -> EbpfProgram | None:
    """A program by its id, and its name as the kernel keeps it; None for the id 0."""
    if not number:
        return None
    return EbpfProgram(number, printable(name.partition(b"\0")[0]))


def spill_of(program: EbpfProgram | None, cookies: Mapping[int, int]) -> Spill | None:
    """What a program that spills was told and has counted; None if it is another program.

    Args:
        program: The program of a group.
        cookies: SO_COOKIE of each of the group's sockets, by inode; 0 where it has none.
    """
    if program is None:
        return None
    from locality.spill import attached, maps  # noqa: PLC0415 - few groups have one

    if program.name != maps.PROGRAM:
        return None
    still_open = {inode: cookie for inode, cookie in cookies.items() if inode}
    return attached.read(program.number, maps.known(program.number), still_open)
