"""The experiment's phases: what each changes, what it must show, and the run through them.

Measuring is the caller's: `run` is given a function that measures for so many seconds
and yields each phase's result as soon as it is known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality import cbpf
from locality.attach_cbpf import attach, detach
from locality.text import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from locality.cbpf import Program
    from locality.lab.experiment import Lab
    from locality.lab.load import LoadResult
    from locality.skb.interval import Interval

SECONDS = 3.0
"""How long each phase is measured."""
SETTLE_S = 0.5
"""Load runs this long before measuring starts: caches are warm, the first rush is over."""
SPREAD = 15.0
"""How far, in percentage points, a hash of many flows may be from an even share."""


@dataclass(frozen=True)
class Measurement:
    """What was counted while a phase ran."""

    accepts: int
    accept_local: int
    lost: int
    """Accepts the ring had no room for."""
    skb: Interval
    """Packets of the whole machine."""


@dataclass(frozen=True)
class Phase:
    """One step of the experiment."""

    name: str
    change: str
    """What is different from the phase before, in words."""
    lowest: float
    """The accept-local share this phase must show, in percent, from here ..."""
    highest: float
    """... to here."""
    set_up: Callable[[Lab], None]

    @property
    def expectation(self) -> str:
        """The accept-local share this phase must show, in words."""
        if self.highest >= 100:  # noqa: PLR2004 - percent
            return f">= {self.lowest:.0f} %"
        if self.lowest <= 0:
            return f"<= {self.highest:.0f} %"
        return f"{self.lowest:.0f}-{self.highest:.0f} %"


@dataclass(frozen=True)
class PhaseResult:
    """What a phase showed."""

    phase: Phase
    measurement: Measurement
    load: LoadResult

    @property
    def requests_per_second(self) -> float:
        """What the client got done, over the whole phase."""
        return self.load.requests_per_second

    @property
    def as_expected(self) -> bool:
        """Whether accept-local is in the phase's range."""
        local = share(self.measurement.accept_local, self.measurement.accepts)
        return local is not None and self.phase.lowest <= local <= self.phase.highest


def phases(cpus: Sequence[int]) -> tuple[Phase, ...]:
    """The experiment, in order; each phase starts from what the one before left.

    Args:
        cpus: The server's RX CPUs, in the order of the workers.
    """
    even = 100 / len(cpus)
    hashed = (max(even - SPREAD, 1.0), even + SPREAD)
    exact, never = (99.0, 100.0), (0.0, 1.0)
    attach_cpu = f"attach-cbpf --group {len(cpus)}"
    attach_map = f"attach-cbpf --map {cbpf.format_map(worker_map(cpus[::-1]))}"
    return (
        Phase("before", "the kernel's hash chooses the worker", *hashed, _nothing),
        Phase("after", f"{attach_cpu}: worker = CPU % {len(cpus)}", *exact, _attach_cpu),
        Phase(
            "reversed",
            f"workers' CPUs reversed; attach-cbpf --group {len(cpus)}",
            *never,
            _reverse,
        ),
        Phase("map", attach_map, *exact, _attach_map),
        Phase("detach", "attach-cbpf --detach: the hash again", *hashed, _detach),
    )


def run(
    lab: Lab,
    measure: Callable[[Phase, float], Measurement],
    *,
    seconds: float = SECONDS,
    settle: float = SETTLE_S,
) -> Iterator[PhaseResult]:
    """Run the experiment, phase by phase.

    Args:
        lab: As `open_lab` gives it: nginx in order, no program attached.
        measure: Measures a phase for so many seconds while load runs. nginx is another one
            after the phase `reversed`: look at `lab.nginx` each time.
        seconds: For each phase.
        settle: Seconds of load before measuring starts.

    Yields:
        Each phase's result when it is over.

    Raises:
        LocalityError: nginx or the load generator did not last, or a change was refused.
    """
    for phase in phases(lab.cpus):
        phase.set_up(lab)
        # The load starts after the change: no connection waits in a queue chosen before it.
        with lab.load() as load:
            time.sleep(settle)
            measurement = measure(phase, seconds)
            result = load.stop()
        yield PhaseResult(phase, measurement, result)


def worker_map(cpus: Sequence[int]) -> dict[int, int]:
    """The map from CPU to index that fits workers on these CPUs, in this order."""
    return {cpu: index for index, cpu in enumerate(cpus)}


def _nothing(lab: Lab) -> None:
    """Leave everything as it is."""


def _attach(lab: Lab, program: Program) -> None:
    attach(lab.nginx.pid, lab.nginx.listen_fds()[0], program)


def _attach_cpu(lab: Lab) -> None:
    _attach(lab, cbpf.cpu(len(lab.cpus)))


def _reverse(lab: Lab) -> None:
    lab.serve(reverse=True)
    _attach_cpu(lab)


def _attach_map(lab: Lab) -> None:
    _attach(lab, cbpf.table(worker_map(lab.nginx.cpus)))


def _detach(lab: Lab) -> None:
    detach(lab.nginx.pid, lab.nginx.listen_fds()[0])
