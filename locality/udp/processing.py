"""How many datagrams were read on the CPU that processed them.

The CPU that allocated a datagram also processes it, unless the datagram is moved in between, for
example by receive packet steering (RPS). A program that selects sockets sees the processing CPU.
The figure is shown only if datagrams were moved: otherwise the two figures are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.text import percent, share

if TYPE_CHECKING:
    from locality.arrays import Array


def says_more(rows: Array) -> bool:
    """Whether the figure differs in meaning from that of the alloc CPU.

    Args:
        rows: dtype `locality.udp.interval.SOCKET` or `READER`.
    """
    known, rx_known, moved = (int(rows[name].sum()) for name in ("known", "rx_known", "moved"))
    return moved > 0 or (rx_known > 0 and not known)


def rx_share(rows: Array) -> float | None:
    """Per cent of the datagrams read on the CPU that processed them; None if none is known."""
    return share(int(rows["rx_local"].sum()), int(rows["rx_known"].sum()))


def processed(rows: Array, digits: int = 1) -> str | None:
    """The figure in words, with the share that was moved; None if `says_more` is false.

    Args:
        rows: As for `says_more`.
        digits: Of the figure.
    """
    if not says_more(rows):
        return None
    words = f"read on the CPU that processed them: {percent(rx_share(rows), digits)}"
    if known := int(rows["known"].sum()):
        moved = percent(share(int(rows["moved"].sum()), known))
        words += f"; {moved} had been allocated by another CPU (RPS)"
    return words
