"""The experiment's phases: what each changes, what it must show, and the run through them.

Measuring is the caller's: `run` is given a function that measures for so many seconds
and yields each phase's result as soon as it is known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality import cbpf
from locality.attach_cbpf import attach, attached_line, detach, detached_line
from locality.lab.expectations import Expected, Figure, Limits, limits
from locality.text import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.accept.batch import AcceptBatch
    from locality.cbpf import Program
    from locality.lab.experiment import Lab
    from locality.lab.load import LoadResult
    from locality.skb.interval import Interval

SECONDS = 3.0
"""How long each phase is measured."""
SETTLE_S = 0.5
"""Load runs this long before measuring starts: caches are warm, the first rush is over."""


@dataclass(frozen=True)
class Measurement:
    """What was counted while a phase ran."""

    accepts: int
    accept_local: int
    lost: int
    """Accepts the ring had no room for."""
    skb: Interval
    """Packets of the server, or of the whole machine."""
    first_accepts: AcceptBatch | None = None
    """A few of the accepts, to show."""

    def share(self, figure: Figure) -> float | None:
        """A share in percent; None where it is not seen."""
        match figure:
            case Figure.ACCEPT:
                return share(self.accept_local, self.accepts)
            case Figure.DELIVERED:
                return share(self.skb.delivered_local, self.skb.delivered)
            case Figure.SENT:
                return share(self.skb.tx.local, self.skb.tx.known)


@dataclass(frozen=True)
class Phase:
    """One step of the experiment."""

    name: str
    change: str
    """What is different from the phase before, in words."""
    expected: Expected
    """What it must make of the shares."""
    workers: int
    set_up: Callable[[Lab], str]
    """Makes the change; returns the line of 2017 that announces it, if there is one."""


@dataclass(frozen=True)
class PhaseResult:
    """What a phase showed."""

    phase: Phase
    measurement: Measurement
    load: LoadResult
    announced: str = ""
    """The line of 2017 that announces the phase's change; empty where it attached nothing."""
    judged: tuple[Figure, ...] = (Figure.ACCEPT,)
    """The shares that must be as expected; those of packets only where they are the server's."""

    @property
    def requests_per_second(self) -> float:
        """What the client got done, over the whole phase."""
        return self.load.requests_per_second

    def limits(self, figure: Figure) -> Limits:
        """What a share must be."""
        phase = self.phase
        return limits(phase.expected, figure, phase.workers, self.measurement.accepts)

    def is_right(self, figure: Figure) -> bool:
        """Whether a share is within its limits."""
        return self.limits(figure).allow(self.measurement.share(figure))

    @property
    def as_expected(self) -> bool:
        """Whether every share is that must be; a share of packets may not be seen."""
        return all(
            self.is_right(figure)
            for figure in self.judged
            if figure is Figure.ACCEPT or self.measurement.share(figure) is not None
        )


def phases(cpus: Sequence[int]) -> tuple[Phase, ...]:
    """The experiment, in order; each phase starts from what the one before left.

    Args:
        cpus: The server's RX CPUs, in the order of the workers.
    """
    count, even = len(cpus), Expected.EVEN
    group = f"attach-cbpf --group {count}"
    by_map = f"attach-cbpf --map {cbpf.format_map(worker_map(cpus[::-1]))}"
    reverse = f"workers' CPUs reversed; {group}"
    return (
        Phase("before", "the kernel's hash chooses the worker", even, count, _nothing),
        Phase("after", f"{group}: worker = CPU % {count}", Expected.ALL, count, _attach_cpu),
        Phase("reversed", reverse, Expected.NONE, count, _reverse),
        Phase("map", by_map, Expected.ALL, count, _attach_map),
        Phase("detach", "attach-cbpf --detach: the hash again", even, count, _detach),
    )


def run(
    lab: Lab,
    measure: Callable[[Phase, float], Measurement],
    *,
    seconds: float = SECONDS,
    settle: float = SETTLE_S,
    judged: tuple[Figure, ...] = (Figure.ACCEPT,),
) -> Iterator[PhaseResult]:
    """Run the experiment, phase by phase.

    Args:
        lab: As `open_lab` gives it: nginx in order, no program attached.
        measure: Measures a phase for so many seconds while load runs. nginx is another one
            after the phase `reversed`: look at `lab.nginx` each time.
        seconds: For each phase.
        settle: Seconds of load before measuring starts.
        judged: The shares that must be as expected.

    Yields:
        Each phase's result when it is over.

    Raises:
        LocalityError: nginx or the load generator did not last, or a change was refused.
    """
    for phase in phases(lab.cpus):
        announced = phase.set_up(lab)
        # The load starts after the change: no connection waits in a queue chosen before it.
        with lab.load() as load:
            time.sleep(settle)
            measurement = measure(phase, seconds)
            result = load.stop()
        yield PhaseResult(phase, measurement, result, announced, judged)


def worker_map(cpus: Sequence[int]) -> dict[int, int]:
    """The map from CPU to index that fits workers on these CPUs, in this order."""
    return {cpu: index for index, cpu in enumerate(cpus)}


def _nothing(lab: Lab) -> str:
    """Leave everything as it is."""
    del lab
    return ""


def _attach(lab: Lab, program: Program) -> str:
    pid, fd = lab.nginx.pid, lab.nginx.listen_fds()[0]
    attach(pid, fd, program)
    return attached_line(pid, fd, len(lab.cpus))


def _attach_cpu(lab: Lab) -> str:
    return _attach(lab, cbpf.cpu(len(lab.cpus)))


def _reverse(lab: Lab) -> str:
    lab.serve(reverse=True)
    return _attach_cpu(lab)


def _attach_map(lab: Lab) -> str:
    return _attach(lab, cbpf.table(worker_map(lab.nginx.cpus)))


def _detach(lab: Lab) -> str:
    pid, fd = lab.nginx.pid, lab.nginx.listen_fds()[0]
    detach(pid, fd)
    return detached_line(pid, fd)
