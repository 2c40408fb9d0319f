"""Source: reads of TCP connections.

`TcpReads` loads `probes/tcp_reads.bpf.c`, which sees every read, also of connections that were
made before it was opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.ladder import Attachment, Rung, attach_best
from locality.bpf.object import Object
from locality.bpf.ring import Ring
from locality.bpf.source import Probing
from locality.errors import Unsupported
from locality.filter import Wanted
from locality.reads.batch import READ, ReadBatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from locality.bpf.engine import Kernel

#: `struct tcp_read_event` of the probe: what `READ` has, when, and both ends of the connection.
#: time: CLOCK_MONOTONIC, ns.
#: rxcpu: the CPU that the stack handled the connection's last packet on; -1 if it noted none.
#: Addresses: network order, IPv4 in 4 bytes.
TCP_READ = np.dtype(
    [
        ("time", "u8"),
        *((name, READ[name]) for name in READ.names or () if name != "pad"),
        ("rport", "u2"),
        ("laddr", "u1", (16,)),
        ("raddr", "u1", (16,)),
    ]
)

DEFAULT_RING = 8 << 20


def programs(kernel: Kernel) -> tuple[str, ...]:
    """The program that sees reads on this kernel.

    Raises:
        Unsupported: There is none.
    """
    for tracepoint, program in (
        ("sock_recv_length", "raw_received"),
        ("tcp_rcv_space_adjust", "raw_adjusted"),
    ):
        if kernel.tracepoint_arguments(tracepoint) is not None:
            return (program,)
    raise Unsupported("this kernel has neither tracepoint sock_recv_length nor its predecessor")


RUNGS = (Rung("raw-tracepoint", programs),)


def attach_reads(open_object: Callable[[], Object], only: str | None = None) -> Attachment:
    """Attach the probe of TCP reads, and say what it does not show; see `attach_best`."""
    attachment = noting_unseen(attach_best(RUNGS, open_object, only))
    if "raw_adjusted" not in attachment.programs:
        return attachment
    rung = attachment.rung.noting("reads that only look (MSG_PEEK) are counted, too")
    return attachment._replace(rung=rung)


def noting_unseen(attachment: Attachment) -> Attachment:
    """An attachment whose note says which reads its programs do not show, or show differently."""
    unseen = "reads by splice() are not seen"
    if "raw_adjusted" in attachment.programs:
        unseen = "before Linux 6.3, a read of several packets counts once for each"
    return attachment._replace(rung=attachment.rung.noting(unseen))


class TcpReads(Probing):
    """Reads of TCP connections, from the moment it is made.

    Args:
        wanted: What to record.
        ring_bytes: Size of the ring; rounded up to a power of two of pages.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered.
    """

    #: Seconds between readings when the ring does not fill up faster.
    period: ClassVar[float] = 0.05

    def __init__(self, wanted: Wanted | None = None, ring_bytes: int = DEFAULT_RING) -> None:
        self._wanted = wanted or Wanted()
        self._ring_bytes = ring_bytes
        with self.attaching() as stack:
            obj = self.hold(stack, attach_reads(self._open))
            self.fd = obj.map_fd("events")
            self._ring = Ring.map(self.fd, obj.map_entries("events"), TCP_READ)

    def _open(self) -> Object:
        obj = Object.open(
            "tcp_reads", {**self._wanted.rodata(), "wakeup_bytes": self._ring_bytes // 4}
        )
        check_layout(TCP_READ, obj.btf.struct("tcp_read_event"), "tcp_read_event")
        obj.resize("events", self._ring_bytes)
        return obj

    def read(self) -> ReadBatch:
        """Take what has arrived, dtype `TCP_READ`; never waits."""
        records = self._ring.read()
        obj = self.attachment.obj
        return ReadBatch(records, int(obj.bss["lost"]) + obj.skipped_runs())
