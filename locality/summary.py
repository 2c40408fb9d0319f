"""What a run of `locality skb`, `udp` or `spread` adds up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from locality.machine.topology import Topology


class Addable(Protocol):
    """An interval that can be put together with the one after it."""

    def __add__(self, later: Self, /) -> Self: ...


A = TypeVar("A", bound=Addable)


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
