"""Source: who reads which datagrams, socket by socket and thread by thread.

`UdpSource` loads `probes/udp_sockets.bpf.c` on the best rung that this kernel allows. Each
reading is a `UdpInterval`: what was counted since the one before, joined with the reuseport
groups that the sockets are in, so that members that got nothing are there too. The datagrams
themselves are counted in the kernel and never streamed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.bpf import btf
from locality.bpf.counters import Counters
from locality.bpf.ladder import Attachment, Rung, attach_best
from locality.bpf.source import Probing
from locality.filter import Wanted
from locality.machine import topology
from locality.machine.cgroups import CgroupPaths
from locality.udp.groups import NOWHERE, Membership
from locality.udp.interval import (
    FLOW,
    FLOW_KEY,
    READER,
    READER_SUMS,
    SOCKET,
    SOCKET_OWN,
    UdpInterval,
    in_order,
)
from locality.udp.peers import Peers
from locality.udp.probe import (
    FLOW_ROW,
    FLOWS_OF_A_CPU,
    MAX_READERS,
    MAX_SOCKETS,
    READER_ROW,
    SOCKET_ROW,
    function_reads,
    open_probe,
    raw_reads,
)

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.bpf.engine import Kernel
    from locality.bpf.object import Object

#: One datagram in so many is sampled for its flow.
SAMPLE = 16

UdpFilter = Wanted


class Counted(NamedTuple):
    """The counters at one reading: dtypes `SOCKET_ROW`, `READER_ROW`; (2, CPUs, CPUs)."""

    sockets: Array
    readers: Array
    cells: Array


_IDENTITY = ("inode", "netns", "family", "port", "address")


def _raw_programs(kernel: Kernel) -> tuple[str, ...]:
    return (*raw_reads(kernel), "raw_fail_queue")


def _function_programs(prefix: str, kernel: Kernel) -> tuple[str, ...]:
    names = [*function_reads(prefix, kernel), "raw_fail_queue"]
    if kernel.tracepoint_arguments("sock_recv_length") is not None:
        names.append("raw_found_nothing")
    if kernel.tracepoint_arguments("sk_data_ready") is not None:
        names.append("raw_depth")
    return tuple(names)


#: Best first.
RUNGS = (
    Rung(
        "fentry",
        lambda kernel: _function_programs("fentry", kernel),
    ),
    Rung(
        "kprobe",
        lambda kernel: _function_programs("kprobe", kernel),
        note="reads that an interrupt makes the kernel skip are missed",
    ),
    Rung(
        "raw-tracepoint",
        _raw_programs,
        note="where several threads read one socket at once, which CPU allocated a datagram is "
        "not always known; with RPS, that of a datagram read at once is not known either",
    ),
)


def noting_depth(attachment: Attachment) -> Attachment:
    """The same with what this kernel does not show on a rung that shows it on others."""
    if {"raw_depth", "raw_data_ready"} & {*attachment.programs}:
        return attachment
    missing = (
        "queue depth is seen only when a datagram is read or dropped, for this kernel has no "
        "tracepoint sk_data_ready (6.3)"
    )
    return attachment._replace(rung=attachment.rung.noting(missing))


class UdpSource(Probing):
    """UDP sockets and their readers, interval by interval, from the moment it is made.

    Args:
        wanted: Which readers and ports to count. By pid or comm, sockets are shown that such
            a thread reads, or such a process holds.
        period: Seconds between readings.
        rung: Use this rung or fail; None takes the best.
        sample: Note the flow of one datagram in so many.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered.
        LocalityError: More pids or ports are wanted than the probe has room for.
    """

    fd: int | None = None

    def __init__(
        self,
        wanted: UdpFilter | None = None,
        period: float = 1.0,
        rung: str | None = None,
        sample: int = SAMPLE,
    ) -> None:
        self.period = period
        self.sample = sample
        self._wanted = wanted or UdpFilter()
        self.cpus = topology.possible_cpus()
        kernel = btf.kernel()
        self._batches_seen = (
            kernel.has_function("bpf_task_pt_regs")
            and kernel.tracepoint_arguments("sock_recv_length") is not None
        )
        self._membership = Membership(self._wanted)
        self._peers = Peers()
        self._paths = CgroupPaths()
        with self.attaching() as stack:
            obj = self.hold(stack, noting_depth(attach_best(RUNGS, self._open, only=rung)))
            self._variables = obj.bss
            self._socket_rows = Counters(obj, "sockets", SOCKET_ROW, (MAX_SOCKETS,))
            self._reader_rows = Counters(obj, "readers", READER_ROW, (MAX_READERS,))
            self._cells = Counters(obj, "cells", np.dtype("u8"), (2, self.cpus, self.cpus))
            self._flow_rows = Counters(obj, "flows", FLOW_ROW, (2, self.cpus * FLOWS_OF_A_CPU))
            # As they were when an interval of even, or of odd number was read.
            self._before = [self._counted()] * 2
            self._since = self._turn()
            self._before[0] = self._counted()

    def _open(self) -> Object:
        return open_probe(
            self._wanted,
            self.cpus,
            {"sees_batches": self._batches_seen, "sample_below": (1 << 32) // self.sample - 1},
        )

    def _counted(self) -> Counted:
        return Counted(self._socket_rows.read(), self._reader_rows.read(), self._cells.read())

    def _turn(self) -> float:
        """Begin the next interval; what belongs to the last one does not change any more.

        Returns:
            When that was, in seconds of `time.monotonic`.
        """
        self._variables["epoch"] = (int(self._variables["epoch"]) + 1) & 0xFFFFFFFF
        turned = time.monotonic()
        # Programs may be running that began before.
        self.attachment.obj.wait_for_programs("turn", "inner")
        return turned

    def read(self) -> UdpInterval:
        """The interval since the last reading.

        Waits for the probes' runs that began in it (some milliseconds), and for the look for
        groups.
        """
        epoch = int(self._variables["epoch"])
        half = epoch % 2
        turned = self._turn()
        counted, before = self._counted(), self._before[half]
        self._before[half] = counted
        flow_rows = self._flow_rows.read()[half]

        readers = _grown(counted.readers, before.readers, ("inode", "tid"), half)
        sockets = _grown(counted.sockets, before.sockets, ("inode",), half)
        quiet = sockets["epoch"] != epoch
        sockets["peak"][quiet] = sockets["queued"][quiet]
        self._membership.refresh(sockets["inode"][sockets["seen"] > 0].tolist())
        flows, lost = self._flows(flow_rows, epoch, sockets)
        rows = self._rows(readers, sockets)
        interval = UdpInterval(
            time=time.time(),
            seconds=turned - self._since,
            rung=self.attachment.rung.name,
            lost=int(self._variables["homeless"]) + self.attachment.obj.skipped_runs(),
            **rows,
            flows=flows,
            flows_lost=lost,
            sample_one_in=self.sample,
            batches_seen=self._batches_seen,
            matrix=(counted.cells[half] - before.cells[half]).T,
            groups=dict(self._membership.groups),
            cgroups=self._paths.of(rows["readers"]["cgroup"], rows["readers"]["pid"]),
            peers=self._peers.of(rows["sockets"]["inode"][rows["sockets"]["group"] < 0].tolist()),
        )
        self._since = turned
        return interval

    def _rows(self, readers: Array, sockets: Array) -> dict[str, Array]:
        """Readers and sockets as `UdpInterval` has them."""
        # An interval may have just the answer to what was read in the one before, at its end.
        readers = readers[(readers["datagrams"] > 0) | (readers["rx_known"] > 0)]
        sockets = self._shown(sockets, readers)
        found = np.zeros(len(sockets), SOCKET)
        for name in (*_IDENTITY, *SOCKET_OWN):
            found[name] = sockets[name]
        found = np.concatenate([found, self._idle_members(found)])
        inodes = found["inode"].tolist()
        places = [self._membership.places.get(inode, NOWHERE) for inode in inodes]
        found["group"] = [place.group for place in places]
        found["index"] = [place.position for place in places]
        at = {inode: row for row, inode in enumerate(inodes)}
        rows = np.array([at.get(inode, -1) for inode in readers["inode"].tolist()], "i8")
        threads = np.zeros(len(readers), READER)
        for name in ("inode", "pid", "tid", "comm", "cgroup", *READER_SUMS):
            threads[name] = readers[name]
        # Without a row of its own: a reader whose socket's row has gone to another meanwhile.
        threads["group"] = threads["index"] = -1
        placed = rows >= 0
        for name in (*_IDENTITY, "group", "index"):
            threads[name][placed] = found[name][rows[placed]]
        for name in READER_SUMS:
            np.add.at(found[name], rows[placed], threads[name][placed])
        return {"readers": in_order(threads), "sockets": in_order(found)}

    def _shown(self, sockets: Array, readers: Array) -> Array:
        """The sockets that something happened to, as far as they are wanted, and members."""
        busy = np.isin(sockets["inode"], readers["inode"])
        busy |= np.isin(sockets["inode"], np.array([*self._membership.places], "u8"))
        held = self._membership.held
        for name in ("drops", "refused", "seen"):
            happened = sockets[name] > 0
            busy |= (
                happened
                if held is None
                else happened & np.isin(sockets["inode"], np.array([*held], "u8"))
            )
        return sockets[busy & (sockets["inode"] > 0)]

    def _idle_members(self, shown: Array) -> Array:
        """Members of groups to which nothing ever happened."""
        there = set(shown["inode"].tolist())
        idle = {
            inode: place for inode, place in self._membership.places.items() if inode not in there
        }
        rows = np.zeros(len(idle), SOCKET)
        for row, (inode, place) in zip(rows, idle.items(), strict=True):
            row["inode"], row["port"] = inode, self._membership.groups[place.group].port
            netns, row["family"], address = self._membership.endpoint(place.group)
            row["netns"], row["address"] = netns, np.frombuffer(address, "u1")
        return rows

    def _flows(self, rows: Array, epoch: int, sockets: Array) -> tuple[Array, int]:
        """The flows of this interval, most samples first, and samples that are not in them."""
        rows = rows[(rows["epoch"] == epoch) & (rows["samples"] > 0)]
        keys, inverse = np.unique(rows["key"].view(f"V{FLOW_KEY.itemsize}"), return_inverse=True)
        flows = np.zeros(len(keys), FLOW)
        for name in FLOW_KEY.names or ():
            flows[name] = keys.view(FLOW_KEY)[name]
        np.add.at(flows["samples"], inverse, rows["samples"])
        lost = int(sockets["sampled"].sum()) - int(flows["samples"].sum())
        return flows[np.argsort(-flows["samples"].astype("i8"), kind="stable")], lost


def _grown(now: Array, before: Array, key: tuple[str, ...], half: int) -> Array:
    """The rows in use as they are now, with what their counts grew by; a new owner's began at 0.

    Args:
        now: With ``counts`` of both halves.
        before: The same rows at the last reading of this half.
        key: What tells an owner from the next one.
        half: Whose counts, which take the place of ``counts``.
    """
    used = np.flatnonzero(now["inode"])
    now, before = now[used], before[used]
    same = np.logical_and.reduce([now[name] == before[name] for name in key])
    counts, earlier = now["counts"][:, half], before["counts"][:, half]
    names = [name for name in now.dtype.names or () if name not in {"counts", "epoch"}]
    grown = np.zeros(
        len(now),
        [
            *((name, now.dtype[name]) for name in names),
            *((name, counts.dtype[name]) for name in counts.dtype.names or ()),
        ],
    )
    for name in names:
        grown[name] = now[name]
    for name in counts.dtype.names or ():
        grown[name] = counts[name]
        if name not in {"peak", "epoch"}:
            # A row that was given away while it was read shows its old owner, and counts of 0.
            known = same & (counts[name] >= earlier[name])
            grown[name] -= np.where(known, earlier[name], 0)
    return grown
