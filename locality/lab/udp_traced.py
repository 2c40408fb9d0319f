"""What `locality udp` sees of the lab's group: another count of the same datagrams.

Its measurement is attached while the lab's own counts are taken, so that each is a check of the
other. Its locality compares the reader's CPU with the alloc CPU. Over a veth that is the CPU of
the sender, not of the softirq that received; the lab's own counts have that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.lab.udp_forwarder import PORT
from locality.udp.source import UdpFilter, UdpSource

if TYPE_CHECKING:
    from contextlib import ExitStack

    from locality.lab.udp_forwarder import Forwarder


@dataclass(frozen=True)
class Traced:
    """Counts of one group over some time.

    Attributes:
        rung: The rung that saw it.
        datagrams: Read from each socket, in the group's order.
        drops: Datagrams dropped at each socket's full buffer, in the group's order.
        batches, batched: recvmmsg() calls that gave datagrams, and the datagrams they gave.
        local, known: Datagrams read on their alloc CPU, of those whose two CPUs are known.
        lost: Events that the probes could not count.
    """

    rung: str
    datagrams: tuple[int, ...]
    drops: tuple[int, ...]
    batches: int
    batched: int
    local: int
    known: int
    lost: int

    def plus(self, later: Traced) -> Traced:
        """Both together."""
        return Traced(
            rung=later.rung,
            datagrams=_sum(self.datagrams, later.datagrams),
            drops=_sum(self.drops, later.drops),
            batches=self.batches + later.batches,
            batched=self.batched + later.batched,
            local=self.local + later.local,
            known=self.known + later.known,
            lost=self.lost + later.lost,
        )


class Tracer:
    """The measurement of `locality udp`, on a forwarder's group.

    Args:
        stack: Detaches the probes when it is closed.
        forwarder: Whose group.

    Raises:
        Unsupported: This kernel allows no rung.
    """

    def __init__(self, stack: ExitStack, forwarder: Forwarder) -> None:
        self._inodes = tuple(forwarder.sockets().values())
        self._source = stack.enter_context(UdpSource(UdpFilter(ports=(PORT,))))
        self._lost = 0

    def read(self) -> Traced:
        """What was counted since the reading before."""
        interval = self._source.read()
        rows = {int(row["inode"]): row for row in interval.sockets}
        ours = [rows[inode] for inode in self._inodes if inode in rows]
        lost, self._lost = interval.lost - self._lost, interval.lost

        def by_socket(name: str) -> tuple[int, ...]:
            return tuple(int(rows[i][name]) if i in rows else 0 for i in self._inodes)

        def total(name: str) -> int:
            return sum(int(row[name]) for row in ours)

        return Traced(
            rung=interval.rung,
            datagrams=by_socket("datagrams"),
            drops=by_socket("drops"),
            batches=total("batches"),
            batched=total("batched"),
            local=total("local"),
            known=total("known"),
            lost=lost,
        )


def _sum(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
