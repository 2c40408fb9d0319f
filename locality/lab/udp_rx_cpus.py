"""On which CPU the datagrams of each socket of a group were received."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.bpf.libbpf import lib
from locality.bpf.object import Object
from locality.errors import Unsupported
from locality.machine import topology
from locality.reuseport.borrow import borrowed_socket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RX_COUNT = np.dtype([("datagrams", "u8"), ("reserved", "u8", (7,))])
"""`struct rx_count` of probes/udp_rx_cpu.bpf.c."""

_PROGRAM = "locality_udp_rx_cpu"
_SO_ATTACH_BPF = 50


@dataclass(frozen=True)
class RxCpus:
    """Counts that grow while a group receives."""

    _counters: list[Counters]

    def read(self) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        """Datagrams so far; int64, shape (sockets, possible CPUs)."""
        rows = [counters.read()["datagrams"] for counters in self._counters]
        return np.array(rows, np.int64)


@contextmanager
def counting_rx_cpus(pid: int, fds: Iterable[int]) -> Iterator[RxCpus]:
    """Give each socket of another process a filter that counts, and reads nothing.

    The filters stay when the block ends, until the sockets are closed: they count into maps
    that nobody reads then. They are for sockets of the lab only.

    Args:
        pid: The process that holds the sockets.
        fds: Their numbers there, in the order of the group.

    Raises:
        Unsupported: The kernel takes no such filter; says what it answered.
    """
    cpus = topology.possible_cpus()
    with ExitStack() as stack:
        yield RxCpus([_count(stack, pid, fd, cpus) for fd in fds])


def _count(stack: ExitStack, pid: int, fd: int, cpus: int) -> Counters:
    # An object for each socket: the program need not ask which socket it runs for.
    obj = stack.enter_context(Object.open("udp_rx_cpu"))
    check_layout(RX_COUNT, obj.btf.struct("rx_count"), "rx_count")
    obj.resize("counts", cpus)
    obj.load()
    program = struct.pack("=i", lib.bpf_program__fd(obj.programs[_PROGRAM]))
    with borrowed_socket(pid, fd) as borrowed:
        try:
            borrowed.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program)
        except OSError as refusal:
            raise Unsupported(
                f"setsockopt({pid}:{fd}, SO_ATTACH_BPF): {refusal.strerror}",
                answer=refusal.strerror,
            ) from None
    return Counters(obj, "counts", RX_COUNT, (cpus,))
