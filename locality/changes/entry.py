"""The values of an undo file's entries, each with its type checked.

An undo file may have been written by anyone, and whoever restores it is root. A TypeError
says that a value is of another type, a ValueError or KeyError what else is wrong with an entry.
"""

from __future__ import annotations

from typing import Any

from locality.machine.topology import MOST_CPUS

#: An entry as JSON has it: what is checked is taken out of it by name.
Entry = dict[str, Any]


def text(value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def number(value: object) -> int:
    """A whole number, not negative, that fits the kernel's 64 bits with a sign."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(value)
    return value


def cpu(value: object) -> int:
    """The number of a CPU."""
    if number(value) >= MOST_CPUS:
        raise TypeError(value)
    return number(value)


def queue(value: object) -> int:
    """The number of an RX queue."""
    if number(value) >= 1 << 16:
        raise TypeError(value)
    return number(value)
