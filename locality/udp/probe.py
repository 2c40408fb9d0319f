"""The probe of datagrams as Python sees it: the layout of its tables, and how it is opened.

`locality.udp.source` reads its counters, `locality.udp.reads` its records of single reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.errors import Unsupported
from locality.reads.batch import READ
from locality.udp.interval import FLOW_KEY, GAUGES, OWN_SUMS, READER_SUMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.bpf.engine import Kernel
    from locality.filter import Wanted

#: `struct socket_counts`, `struct reader_counts`: what belongs to an interval.
SOCKET_COUNTS = np.dtype([*((name, "u8") for name in OWN_SUMS), ("peak", "u4"), ("epoch", "u4")])
READER_COUNTS = np.dtype([(name, "u8") for name in READER_SUMS])

#: `struct udp_socket`; counts: of intervals of even and of odd number.
SOCKET_ROW = np.dtype(
    [
        ("inode", "u8"),
        ("netns", "u4"),
        ("family", "u2"),
        ("port", "u2"),
        ("address", "u1", (16,)),
        ("counts", SOCKET_COUNTS, (2,)),
        *((name, "u4") for name in GAUGES if name != "peak"),
        ("epoch", "u4"),
        ("next_cpu", "u4"),
        ("next_rx_cpu", "u4"),
        ("next", "u8"),
        ("early", "u8"),
        ("next_stamp", "i8"),
        ("peer", "u2"),
        ("bound", "u1"),
        ("unused", "u1", (5,)),
    ]
)

#: `struct udp_reader`.
READER_ROW = np.dtype(
    [
        ("inode", "u8"),
        ("pid", "u4"),
        ("tid", "u4"),
        ("comm", "S16"),
        ("counts", READER_COUNTS, (2,)),
        ("vector", "u8"),
        ("in_call", "u4"),
        ("epoch", "u4"),
        ("skb", "u8"),
        ("cgroup", "u8"),
    ]
)

#: `struct udp_flow`.
FLOW_ROW = np.dtype([("key", FLOW_KEY), ("epoch", "u4"), ("samples", "u4")])
FLOWS_OF_A_CPU = 256 * 4  # SETS * WAYS of probes/udp_flows.h

MAX_SOCKETS = 4096
MAX_READERS = 8192


_LAYOUTS = {
    "socket_counts": SOCKET_COUNTS,
    "udp_socket": SOCKET_ROW,
    "reader_counts": READER_COUNTS,
    "udp_reader": READER_ROW,
    "udp_flow": FLOW_ROW,
    "read_event": READ,
}

#: Notes for each received packet of the machine on which CPU it is processed.
_RAW_RECEIVE = "raw_receive"


def raw_reads(kernel: Kernel) -> tuple[str, ...]:
    """The programs that see a read by tracepoints alone.

    Raises:
        Unsupported: The kernel has not all of them.
    """
    for name in ("sock_recv_length", "sk_data_ready"):
        if kernel.tracepoint_arguments(name) is None:
            raise Unsupported(f"this kernel has no tracepoint {name} (6.3)")
    return ("raw_recv_length", "raw_data_ready", _RAW_RECEIVE)


def function_reads(prefix: str, kernel: Kernel) -> tuple[str, ...]:
    """The programs that see a read in the kernel's function.

    Args:
        prefix: ``fentry`` or ``kprobe``.
        kernel: Whose functions.

    Raises:
        Unsupported: The kernel has not that function.
    """
    if not kernel.has_function("skb_consume_udp"):
        raise Unsupported("this kernel has no function skb_consume_udp to hook")
    # A kprobe there would be skipped whenever the softirq interrupts the one at a read.
    can_note = prefix == "fentry" and kernel.has_function("__udp_enqueue_schedule_skb")
    return (f"{prefix}_consume_udp", "fentry_enqueue" if can_note else _RAW_RECEIVE)


def open_probe(wanted: Wanted, cpus: int, constants: Mapping[str, Any]) -> Object:
    """Open the probe, check its layouts and size its tables; nothing is loaded yet.

    Args:
        wanted: Which readers and ports.
        cpus: CPUs that this machine can have.
        constants: Further constants of the probe.

    Raises:
        LocalityError: It was compiled for other layouts, or more pids or ports are wanted than
            it has room for.
    """
    obj = Object.open(
        "udp_sockets",
        {
            **wanted.rodata(),
            "possible_cpus": cpus,
            "max_sockets": MAX_SOCKETS,
            "max_readers": MAX_READERS,
            **constants,
        },
    )
    for name, layout in _LAYOUTS.items():
        check_layout(layout, obj.btf.struct(name), name)
    for name, size in (
        ("sockets", MAX_SOCKETS),
        ("socket_rows", MAX_SOCKETS),
        ("readers", MAX_READERS),
        ("reader_rows", MAX_READERS),
        ("cells", 2 * cpus**2),
        ("flows", 2 * cpus * FLOWS_OF_A_CPU),
    ):
        obj.resize(name, size)
    return obj
