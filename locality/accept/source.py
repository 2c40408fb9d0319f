"""Source: accepted connections.

`AcceptSource` loads `probes/accept_cpu.bpf.c` on the best rung that this kernel allows
and hands out batches of records (`locality.accept.batch`). Their layout is checked against the
compiled probe's own type information whenever it is opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from locality.accept.attach import attach_accepts, constants
from locality.accept.batch import ACCEPT, AcceptBatch
from locality.bpf.btf import check_layout
from locality.bpf.engine import Engine, choose
from locality.bpf.ladder import Rung
from locality.bpf.ring import Ring
from locality.bpf.source import Probing
from locality.filter import Wanted
from locality.machine.cgroups import CgroupPaths
from locality.machine.clocks import monotonic_to_utc

if TYPE_CHECKING:
    from locality.bpf.object import Object

DEFAULT_RING = 4 << 20

#: Best first. fd_install costs other system calls nothing; the exit tracepoints divert
#: every system call on the machine a little; the raw one also runs a program for each.
#: A kprobe comes first because it runs with preemption off. In the middle of any other program a
#: preemptible kernel (7.x) may give the CPU to another thread, and skips that program there: of
#: 3,200 connections that sixteen threads accepted, fentry missed 33 and 19, kprobe none.
RUNGS = (
    Rung("kprobe", lambda _kernel: ("kprobe_fd_install",)),
    Rung("fentry", lambda _kernel: ("fentry_fd_install",)),
    Rung(
        "tracepoint",
        lambda _kernel: ("tracepoint_accept", "tracepoint_accept4"),
        "not seen: accepts by 32-bit programs",
    ),
    Rung("raw-tracepoint", lambda _kernel: ("raw_sys_exit",)),
)


@dataclass(frozen=True)
class Filter(Wanted):
    """Which accepts to record; decided in the kernel.

    Attributes:
        cpu: The CPU that runs accept().
        family: 4 or 6, the IP version of the packets.
    """

    cpu: int | None = None
    family: int | None = None

    def rodata(self) -> dict[str, Any]:
        """The probe's constants.

        Raises:
            LocalityError: More pids or ports than the probe has room for.
        """
        return super().rodata() | {
            "only_cpu": -1 if self.cpu is None else self.cpu,
            "only_family": self.family or 0,
        }

    def __str__(self) -> str:
        parts = self.words()
        if self.cpu is not None:
            parts.append(f"CPU {self.cpu}")
        if self.family is not None:
            parts.append(f"IPv{self.family}")
        return ", ".join(parts) or "everything"


@dataclass
class AcceptSource(Probing):
    """Accepted connections of this machine, from the moment it is made.

    Args:
        wanted: What to record.
        rung: Use this rung or fail; None takes the best.
        ring_bytes: Size of the ring; rounded up to a power of two of pages.
        engine: auto, core or bcc.

    Raises:
        Unsupported: No rung is allowed here; says what the kernel answered.
    """

    wanted: Filter = field(default_factory=Filter)
    rung: str | None = None
    ring_bytes: int = DEFAULT_RING
    engine: str = "auto"

    #: Seconds between readings when the ring does not fill up faster.
    period: ClassVar[float] = 0.05

    def __post_init__(self) -> None:
        self._engine: Engine = choose(self.engine)
        with self.attaching() as stack:
            self._object = self.hold(
                stack, attach_accepts(RUNGS, self._open, self.rung, self._engine)
            )
            self.fd = self._object.map_fd("events")
            # libbpf rounds a size up to what the kernel takes: a power of two of pages.
            self._ring = Ring.map(self.fd, self._object.map_entries("events"), ACCEPT)
            self._globals = self._object.bss
            self._paths = CgroupPaths()
            self.clock_offset = monotonic_to_utc()

    def _open(self) -> Object:
        obj = self._engine.open("accept_cpu", constants(self.wanted, self.ring_bytes))
        check_layout(ACCEPT, obj.btf.struct("accept_event"), "accept_event")
        obj.resize("events", self.ring_bytes)
        return obj

    def read(self) -> AcceptBatch:
        """Take what has arrived; never waits."""
        # Records first: a loss counted late is counted, a loss before its neighbours confuses.
        records = self._ring.read()
        lost = int(self._globals["lost"]) + self._object.skipped_runs()
        cgroups = self._paths.of(records["cgroup"], records["pid"])
        return AcceptBatch(records, self.clock_offset, lost, cgroups)
