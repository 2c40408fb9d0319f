"""Source: where packets are allocated, consumed and freed.

`SkbSource` loads `probes/skb_alloc_free.bpf.c` on the best rung that this kernel allows.
Each reading is the interval since the one before; the packets themselves are counted in
the kernel and never streamed.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from locality.bpf import kallsyms
from locality.bpf.btf import check_layout
from locality.bpf.counters import Counters
from locality.bpf.engine import choose
from locality.bpf.ladder import Rung, attach_best
from locality.bpf.source import Probing
from locality.errors import LocalityError, Unsupported
from locality.machine import topology
from locality.skb import senders
from locality.skb.accounting import ROW, Difference, FunctionAccount, TracepointAccount
from locality.skb.cells import CELL, cells_of, sizes
from locality.skb.interval import Interval
from locality.skb.pairs import MOST_DENSE
from locality.skb.senders import Senders
from locality.skb.wanted import SkbFilter, choosing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.bpf.engine import Kernel
    from locality.bpf.object import Object

DEFER_MAX = Path("/proc/sys/net/core/skb_defer_max")

#: The functions a deferred list's flush may be compiled into (net/core/dev.c, skbuff.c).
FLUSH_FUNCTIONS = (
    "skb_defer_free_flush",
    "skb_defer_node_flush",
    "net_rx_action",
    "__napi_busy_loop",
    "napi_threaded_poll_loop",
    "dev_cpu_dead",
)
MAX_FLUSH_FUNCTIONS = 16

#: The probes of functions that make an sk_buff, and how many sk_buffs to remember.
MAKERS = ("__alloc_skb", "__build_skb", "build_skb_around", "skb_clone")
REMEMBERED = 1 << 17

#: Places for sockets whose owners are remembered; a power of two.
OWNERS = 1 << 18

#: include/uapi/linux/tcp.h
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE = 2
TCP_REPAIR_OFF_NO_WP = -1

#: Reads of datagrams that show whether this kernel defers freeing what was read.
ENOUGH_READS = 8

RAW_PROGRAMS = (
    "raw_consume_skb",
    "raw_kfree_skb",
    "raw_copy_datagram",
    "raw_recv_length",
    "raw_tcp_probe",
    "raw_cache_free",
)


def _tells_location(kernel: Kernel) -> bool:
    """Whether the tracepoint consume_skb says from where it was called."""
    return (kernel.tracepoint_arguments("consume_skb") or 0) > 1


@cache
def _flush_ranges() -> list[tuple[int, int]]:
    """Where the flush's code lies: addresses [begin, end); the kernel takes a while to say."""
    return kallsyms.function_ranges(FLUSH_FUNCTIONS)


def _function_programs(prefix: str, leave: str) -> Callable[[Kernel], tuple[str, ...]]:
    """The programs of a rung that hooks functions: those for which this kernel has one."""

    def programs(kernel: Kernel) -> tuple[str, ...]:
        chosen = [
            *("kfree_skbmem", "kfree_skb_partial", "skb_consume_udp", "inet_frag_reasm_prepare")
        ]
        if kernel.has_function("napi_skb_cache_put"):
            chosen.append("napi_skb_cache_put")
        else:
            chosen.append("napi_consume_skb")
            if kernel.has_function("__kfree_skb_defer"):
                chosen.append("__kfree_skb_defer")
        if _tells_location(kernel):
            chosen.append("flush")
        names = [f"{prefix}_{name}" for name in chosen]
        if kernel.has_function("skb_attempt_defer_free"):
            names.append(f"{prefix}_skb_attempt_defer_free")
        if not _remembers_alloc_cpu(kernel):
            names += [f"{leave}_{name}" for name in MAKERS]
        # eedade12f4cb "net: kfree_skb_list use kmem_cache_free_bulk", 6.3, as the location is;
        # kernel headers do not show it.
        if not (kernel.has_member("skb_free_array", "skb_count") or _tells_location(kernel)):
            names.append("free_fragment")
        return tuple(names)

    return programs


def _raw_programs(kernel: Kernel) -> tuple[str, ...]:
    if not _remembers_alloc_cpu(kernel):
        raise Unsupported(
            "this kernel's sk_buff does not say where it was allocated (alloc_cpu), and "
            "tracepoints do not show it"
        )
    if _tells_location(kernel) and not _flush_ranges():
        raise Unsupported(
            "a deferred free cannot be told from a consumption: /proc/kallsyms hides the kernel's "
            f"addresses ({kallsyms.why_hidden()})"
        )
    return tuple(
        name
        for name in RAW_PROGRAMS
        if name != "raw_recv_length" or kernel.tracepoint_arguments("sock_recv_length") is not None
    )


def _remembers_alloc_cpu(kernel: Kernel) -> bool:
    """Whether an sk_buff has a field for the CPU it was allocated on."""
    return kernel.has_member("sk_buff", "alloc_cpu")


RUNGS = (
    Rung("fentry", _function_programs("fentry", "fexit")),
    Rung(
        "kprobe",
        _function_programs("kprobe", "kretprobe"),
        note="packets freed by an interrupt that hits while a kprobe runs are missed; before "
        "Linux 6.7 the kernel does not count them all as lost",
    ),
    Rung(
        "raw-tracepoint",
        _raw_programs,
        note="not seen: freed-local; readers by splice, sockmap, kTLS, MPTCP or MSG_TRUNC; some "
        "FINs that come alone; fragments that are never put together; sent packets that find a "
        "full deferred list (7.x); over loopback and veth, where TCP packets were consumed whose "
        "ACK came while the connection closed",
    ),
)


class SkbSource(Probing):
    """Packets of this machine, interval by interval, from the moment it is made.

    Args:
        period: Seconds between readings.
        rung: Use this rung or fail; None takes the best.
        engine: auto, core or bcc.
        wanted: Which packets to count.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered. Engine bcc is asked
            for with a filter.
    """

    fd: int | None = None

    def __init__(
        self,
        period: float = 1.0,
        rung: str | None = None,
        engine: str = "auto",
        wanted: SkbFilter | None = None,
    ) -> None:
        self.period = period
        self._wanted = wanted or SkbFilter()
        self.cpus = topology.possible_cpus()
        self._engine = choose(engine)
        if self._wanted.selects and self._engine.name != "core":
            raise Unsupported(
                "packets can be chosen with --engine core only: measure all, or use that engine"
            )
        self._flushes = _flush_ranges() if _tells_location(self._engine.kernel) else []
        if len(self._flushes) > MAX_FLUSH_FUNCTIONS:
            raise LocalityError(
                f"this kernel's flush functions come in {len(self._flushes)} pieces, the probe has "
                f"room for {MAX_FLUSH_FUNCTIONS}: please report it"
            )
        rungs: Sequence[Rung] = RUNGS
        if self._wanted.selects:
            seen = bool(self._flushes)
            rungs = tuple(choosing(one, self._wanted, flush_is_seen=seen) for one in RUNGS)
        with self.attaching() as stack:
            obj = self.hold(stack, attach_best(rungs, self._open, rung, self._engine))
            self._cells = cells_of(obj, self.cpus)
            self._rows = Counters(obj, "rows", ROW, (self.cpus,))
            self._account = self._accounting()
            self._senders = Senders(obj) if senders.PROGRAM in self.attachment.programs else None
            self._cells.read()
            self._counted = self._rows.read()
            self._since = time.monotonic()

    def _open(self) -> Object:
        kernel = self._engine.kernel
        constants = {
            **self._wanted.rodata(),
            "possible_cpus": self.cpus,
            "only_few_cells": self.cpus > MOST_DENSE,
            "owner_places": OWNERS,
            "flush_functions": len(self._flushes),
            "flush_begin": [begin for begin, _ in self._flushes],
            "flush_end": [end for _, end in self._flushes],
        }
        obj = self._engine.open("skb_alloc_free", constants)
        check_layout(CELL, obj.btf.struct("cell"), "cell")
        check_layout(ROW, obj.btf.struct("row"), "row")
        for name, entries in sizes(self.cpus).items():
            obj.resize(name, entries)
        obj.resize("rows", self.cpus)
        if not _remembers_alloc_cpu(kernel):
            obj.resize("alloc_cpus", REMEMBERED)
        if self._wanted.names_tasks:
            obj.resize("owners", OWNERS)
        return obj

    def _accounting(self) -> FunctionAccount | TracepointAccount:
        if self.attachment.rung.name != "raw-tracepoint":
            return FunctionAccount(
                flush_is_seen=bool(self._flushes),
                defers=any("defer_free" in name for name in self.attachment.programs),
                selects=self._wanted.selects,
            )
        variables = self.attachment.obj.bss
        sequence = secrets.randbits(32)
        variables["sought"] = 1 << 32 | sequence
        with suppress(OSError):
            _free_a_packet(sequence)
        variables["sought"] = 0
        return TracepointAccount(
            udp_is_deferred=None if "raw_recv_length" in self.attachment.programs else False,
            remote_udp_is_seen=_defer_max() > 0,
            sees_originals=bool(variables["fclone_cache"]),
            selects=self._wanted.selects,
        )

    def _learn(self, account: TracepointAccount) -> None:
        """What the traffic has shown of this kernel by now."""
        variables = self.attachment.obj.bss
        account.sees_originals = bool(variables["fclone_cache"])
        told, untold = int(variables["udp_told"]), int(variables["udp_untold"])
        if account.udp_is_deferred is False or variables["udp_is_settled"] or not told + untold:
            return
        account.udp_is_deferred = untold > told
        variables["udp_is_settled"] = told + untold >= ENOUGH_READS

    def read(self) -> Interval:
        """The interval since the last reading; never waits."""
        consumed, rows, now = self._cells.read(), self._rows.read(), time.monotonic()
        if isinstance(self._account, TracepointAccount):
            self._learn(self._account)
        grown = Difference.between(consumed, rows, self._counted)
        figures = self._account.figures(grown)
        if self._senders is not None:
            self._senders.follow(grown, figures)
        seconds, self._counted, self._since = now - self._since, rows, now
        return Interval(
            time=time.time(),
            seconds=seconds,
            rung=self.attachment.name,
            lost=self.attachment.obj.skipped_runs(),
            **figures._asdict(),
        )


def _free_a_packet(sequence: int) -> None:
    """Fill a packet of TCP into a queue and free it; nothing is sent, and nobody is connected.

    In repair mode, which was made for moving connections between machines, connect() and close()
    only write down what has happened elsewhere.

    Args:
        sequence: Its first byte's number.

    Raises:
        OSError: Not allowed: it needs CAP_NET_ADMIN.
    """
    with socket.socket() as unconnected:
        unconnected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        unconnected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
        unconnected.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("=I", sequence))
        unconnected.connect(("127.0.0.1", 9))
        # Out of repair mode the packet waits for more bytes; back in it, close() sends nothing.
        unconnected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
        unconnected.send(b"x", socket.MSG_MORE)
        unconnected.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)


def _defer_max() -> int:
    try:
        return int(DEFER_MAX.read_text())
    except (OSError, ValueError):
        return 0
