"""What a run that counts in intervals adds up to; tables of workers that end."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from locality.machine.topology import Topology


class Addable(Protocol):
    """An interval that can be put together with the one after it."""

    def __add__(self, later: Self, /) -> Self: ...


A = TypeVar("A", bound=Addable)
K = TypeVar("K")
V = TypeVar("V")

#: So many workers are kept of a run that sees new ones for days: what 128 threads have that run on
#: each of 64 CPUs. There are at most twice as many before the oldest are taken.
MOST_KEPT = 1 << 13


class Summary(Generic[A]):
    """A sink that adds intervals up.

    Attributes:
        machine: The CPUs that were measured.
        total: All of them as one, or None before the first.
    """

    def __init__(self, machine: Topology) -> None:
        self.machine = machine
        self.total: A | None = None

    def write(self, batch: A) -> None:
        """Add an interval."""
        self.total = batch if self.total is None else self.total + batch


def take_oldest(table: dict[K, V]) -> list[V]:
    """Take the oldest rows out of a table that has grown too long; none of a short one.

    Args:
        table: The one that changed last stands last.
    """
    if len(table) <= 2 * MOST_KEPT:
        return []
    return [table.pop(key) for key in [*islice(table, len(table) - MOST_KEPT)]]
