"""Source: how long packets wait for their readers, by the distance between their CPUs.

`CostSource` has the probes of TCP and UDP reads keep histograms in the kernel, for each thread and
port, and hands out what was counted since the reading before. While it is open, the kernel stamps
every packet that the machine receives.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from locality.bpf import btf
from locality.bpf.ladder import Attachment, Rung, attach_best
from locality.bpf.object import Object
from locality.bpf.source import Probing
from locality.cost import bill, clock
from locality.cost.interrupts import Causes
from locality.cost.interval import KEY, READER, TIME, CostInterval, together
from locality.cost.pmu import Pmu
from locality.cost.stamping import Stamping
from locality.cost.times import CONSTANTS, MAX_ROWS, Times, sized, some, without_times
from locality.errors import Unsupported
from locality.filter import Wanted
from locality.machine import topology
from locality.machine.cgroups import CgroupPaths
from locality.reads.rows import Rows, prepared
from locality.udp.probe import open_probe
from locality.udp.reads import RUNGS as UDP_RUNGS

if TYPE_CHECKING:
    from contextlib import ExitStack

    from locality.arrays import Array
    from locality.bpf.engine import Kernel
    from locality.machine.topology import Topology

__all__ = ["RUNGS", "CostSource"]

#: From so much in its queue on a packet waited for others, and not for its reader: what one packet
#: of TCP holds at most after GRO, and some datagrams.
LONG_QUEUE_BYTES = 1 << 16
LONG_QUEUE_DATAGRAMS = 16

#: Wake-ups are seen by these; reads are without them.
_WAKE_UPS = ("raw_waking", "raw_switch")


def _programs(kernel: Kernel) -> tuple[str, ...]:
    if kernel.tracepoint_arguments("skb_copy_datagram_iovec") is None:
        raise Unsupported("this kernel has no tracepoint skb_copy_datagram_iovec")
    return ("raw_copied",)


RUNGS = (Rung("raw-tracepoint", _programs, note="reads by splice() are not seen"),)
#: Where no reads of TCP are wanted, only what wakes readers is seen by that probe.
_NO_TCP = (Rung("raw-tracepoint", lambda _kernel: _WAKE_UPS),)


def _sees_calls() -> bool:
    """Whether a probe can see the arguments of the call that reads (Linux 5.15)."""
    return btf.kernel().has_function("bpf_task_pt_regs")


class _Probe:
    """The rows of one probe, and the times beside them."""

    def __init__(self, attachment: Attachment, machine: Topology) -> None:
        self.rows = Rows(attachment, machine, MAX_ROWS)
        self.times = Times(attachment.obj)

    def read(self) -> tuple[Array, Array]:
        """Readers and their times since the last call: dtypes `READER` and `TIME`."""
        now, _ = self.rows.read()
        left_out, times = self.times.read(len(now))
        readers = np.zeros(len(now), READER)
        for name in (*KEY, "cgroup", "comm"):
            readers[name] = now[name]
        readers["left_out"] = left_out
        return readers, times


class CostSource(Probing):
    """Times of the reads of this machine, interval by interval, from the moment it is made.

    Args:
        wanted: Whose reads, on which ports.
        period: Seconds between readings.
        rung: Use this rung or fail; None takes the best.
        protocol: tcp or udp: only its reads; None for both.

    Attributes:
        stamping: Has packets stamped.
        no_pmu: Why cycles and cache misses are not counted; empty if they are.

    Raises:
        Unsupported: No rung is allowed here, or packets cannot be stamped; says what the kernel
            answered.
    """

    fd: int | None = None

    def __init__(
        self,
        wanted: Wanted | None = None,
        period: float = 1.0,
        rung: str | None = None,
        protocol: str | None = None,
    ) -> None:
        self.period = period
        self._wanted = wanted or Wanted()
        with self.attaching() as stack:
            self.stamping = Stamping()
            stack.callback(self.stamping.close)
            self._causes = self._open_causes(stack)
            self.no_pmu = ""
            self._pmu = self._open_pmu(stack)
            self._attach_tcp(stack, rung, wanted=protocol != "udp")
            machine = topology.read()
            self._probes = [_Probe(self.attachment, machine)]
            if protocol != "tcp":
                self._attach_udp(stack, machine)
            self._clock = clock.measure()
            self._set_clock(first_stamp=0)
            self._discard = False
            self._paths = CgroupPaths()
            # What was read before the probes knew distances and the clock is not counted.
            self._readers()
            self._bill = self._read_bill()
            self._since = time.monotonic()

    def _open_causes(self, stack: ExitStack) -> Causes | None:
        try:
            causes = Causes()
        except Unsupported:
            return None
        stack.callback(causes.close)
        return causes

    def _open_pmu(self, stack: ExitStack) -> Pmu | None:
        try:
            pmu = Pmu()
        except Unsupported as refusal:
            self.no_pmu = f"{refusal}"
            return None
        stack.callback(pmu.close)
        return pmu

    def _attach_tcp(self, stack: ExitStack, rung: str | None, *, wanted: bool) -> None:
        if not wanted:
            self.hold(stack, attach_best(_NO_TCP, self._open_tcp, rung))
            return
        self.hold(stack, attach_best(RUNGS, self._open_tcp, rung, beside=_WAKE_UPS))
        if self.attachment.left_out:
            self._note(f"wake-ups are not seen: {self.attachment.left_out}")
        if not _sees_calls():
            self._note("a packet counts each time that it is looked at (MSG_PEEK)")

    def _attach_udp(self, stack: ExitStack, machine: Topology) -> None:
        try:
            attachment = attach_best(UDP_RUNGS, self._open_udp)
        except Unsupported as refusal:
            self._note(f"reads of datagrams are not seen: {refusal}")
            return
        stack.callback(attachment.obj.close)
        self._probes.append(_Probe(attachment, machine))

    def _note(self, unseen: str) -> None:
        self.attachment = self.attachment._replace(rung=self.attachment.rung.noting(unseen))

    def _open_tcp(self) -> Object:
        constants = {
            **self._wanted.rodata(),
            **CONSTANTS,
            "sees_calls": _sees_calls(),
            "long_queue_bytes": LONG_QUEUE_BYTES,
        }
        return sized(prepared(Object.open("cost_tcp", constants), MAX_ROWS))

    def _open_udp(self) -> Object:
        constants = {
            **CONSTANTS,
            "counts_rows": True,
            # No flows: what is counted beside the rows is not read.
            "sample_below": 0,
            "long_queue_datagrams": LONG_QUEUE_DATAGRAMS,
        }
        obj = open_probe(self._wanted, topology.possible_cpus(), constants)
        # What wakes threads is seen once for both probes.
        obj.share("reader_notes", self.attachment.obj)
        return sized(prepared(obj, MAX_ROWS), own_notes=False)

    def _set_clock(self, first_stamp: int) -> None:
        for probe in self._probes:
            probe.times.set_clock(self._clock.middle, first_stamp)

    def _clock_was_set(self) -> bool:
        """Whether that happened since the last call; the probes then go by the new time."""
        now = clock.measure(clock.FEW_READINGS)
        agreed = self._clock.agreed(now)
        self._clock = agreed or clock.measure()
        if agreed is not None:
            return False
        self._set_clock(first_stamp=time.time_ns())
        return True

    def _read_bill(self) -> bill.Bill:
        causes = None if self._causes is None else self._causes.read()
        return bill.read(causes, {} if self._pmu is None else self._pmu.read())

    def read(self) -> CostInterval:
        """The interval since the last reading; never waits."""
        readers, times = self._readers()
        was_set = self._clock_was_set()
        # What was read after the clock was set, and before we knew, is in the next interval, too.
        if was_set or self._discard:
            readers, times = without_times(readers, times)
        self._discard = was_set
        paid = self._read_bill()
        now = time.monotonic()
        interval = CostInterval(
            time=time.time(),
            seconds=now - self._since,
            rung=self.attachment.name,
            lost=sum(probe.rows.lost for probe in self._probes),
            clock_steps=int(was_set),
            readers=readers,
            times=times,
            bill=paid - self._bill,
            cgroups=self._paths.of(readers["cgroup"], readers["pid"]),
        )
        self._since, self._bill = now, paid
        return interval

    @property
    def attachments(self) -> list[Attachment]:
        """What it attached: for TCP, for UDP, and for interrupts, as far as this kernel allows."""
        probes = [probe.rows.attachment for probe in self._probes]
        return probes if self._causes is None else [*probes, self._causes.attachment]

    def _readers(self) -> tuple[Array, Array]:
        """Processes that read since the last call, and their times."""
        all_readers: list[Array] = [np.zeros(0, READER)]
        all_times: list[Array] = [np.zeros(0, TIME)]
        first = 0
        for probe in self._probes:
            readers, times = probe.read()
            times["reader"] += first
            first += len(readers)
            all_readers.append(readers)
            all_times.append(times)
        return together(*some(np.concatenate(all_readers), np.concatenate(all_times)), KEY)
