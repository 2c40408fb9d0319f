"""What a run of `locality udp` adds up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locality.udp_account import UdpInterval


class UdpSummary:
    """A sink that adds intervals up.

    Attributes:
        total: All of them as one, or None before the first.
    """

    def __init__(self) -> None:
        self.total: UdpInterval | None = None

    def write(self, batch: UdpInterval) -> None:
        """Add an interval."""
        self.total = batch if self.total is None else self.total + batch
