"""The cases of the scaling experiment, and what each showed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import TYPE_CHECKING

from locality.lab.udp_account import Account, gigabits
from locality.lab.udp_sender import FLOWS
from locality.lab.udp_steering import STEERINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from locality.lab.udp_traced import Traced


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        sockets: In the group.
        steering: Of STEERINGS.
        flows: Of FLOWS.
        size: Bytes of the IP packet, headers included.
    """

    sockets: int
    steering: str
    flows: str
    size: int


@dataclass(frozen=True)
class Figures:
    """What a case showed.

    Attributes:
        seconds: How long the rates were measured, of all rounds together.
        rounds: Datagrams the workers read a second, in each round.
        account: Every datagram of the case, also outside the windows.
        cpu_seconds: CPU time of the workers for all of them. What softirqs do on a worker's
            CPU while it runs is in it.
        waited_seconds: How long they waited for a CPU that others had, ready to run.
        rx_cpus: The CPUs that received, and how many datagrams each.
        local: Datagrams received on the CPU of the worker whose socket they went to.
        known: Datagrams whose RX CPU was seen; 0 where the kernel takes no filter.
        traced: What `locality udp` saw of it; None where this kernel allows no rung.
    """

    seconds: float
    rounds: tuple[float, ...]
    account: Account
    cpu_seconds: float
    waited_seconds: float
    rx_cpus: Mapping[int, int]
    local: int
    known: int
    traced: Traced | None = None

    @property
    def read_pps(self) -> float:
        """Datagrams the workers read a second: the median of the rounds."""
        return median(self.rounds)

    @property
    def shares(self) -> tuple[float, ...]:
        """Percent of the datagrams that the kernel chose each socket for; nan of nothing."""
        arrived = self.account.arrived
        total = sum(arrived)
        return tuple(100 * each / total if total else float("nan") for each in arrived)

    @property
    def per_cpu_second(self) -> float:
        """Datagrams read in a second of a worker's CPU time; nan where none was used.

        Other programs take CPU time from the workers, but hardly change this.
        """
        if not self.cpu_seconds:
            return float("nan")
        return sum(self.account.read) / self.cpu_seconds

    def plus(self, other: Figures) -> Figures:
        """The figures of more rounds."""
        return Figures(
            seconds=self.seconds + other.seconds,
            rounds=self.rounds + other.rounds,
            account=self.account.plus(other.account),
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            waited_seconds=self.waited_seconds + other.waited_seconds,
            rx_cpus=Counter(self.rx_cpus) + Counter(other.rx_cpus),
            local=self.local + other.local,
            known=self.known + other.known,
            traced=self.traced and other.traced and self.traced.plus(other.traced),
        )


@dataclass(frozen=True)
class Result:
    """A case, and what it showed or why it cannot be here."""

    case: Case
    figures: Figures | None
    refused: str = ""

    @property
    def gigabits(self) -> float | None:
        """Read, in 10^9 bits of IP packets a second."""
        if self.figures is None:
            return None
        return gigabits(self.figures.read_pps, self.case.size)


def cases(
    sockets: Sequence[int],
    sizes: Sequence[int],
    steerings: Sequence[str] = STEERINGS,
    flows: Sequence[str] = FLOWS,
) -> list[Case]:
    """Every combination, in the order in which they are measured."""
    return [
        Case(count, steered, kind, size)
        for count, size, steered, kind in product(sockets, sizes, steerings, flows)
    ]


def merged(results: Iterable[Result]) -> list[Result]:
    """One result for each case, of all its rounds, in the order of the first round.

    A case that was refused once is refused.
    """
    found: dict[Case, Result] = {}
    for one in results:
        before = found.get(one.case)
        if before is None or one.figures is None:
            found[one.case] = one
        elif before.figures is not None:
            found[one.case] = Result(one.case, before.figures.plus(one.figures))
    return list(found.values())
