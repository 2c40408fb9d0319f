"""Why a server is not local, as far as sums over its pairs of CPUs tell (`dataset.evidence`).

`locality explain` looks at the server itself, and knows its sockets and its program. Here is only
what was recorded, so a cause is what fits the sums. The order of the questions is that of the
functions below: each is asked of what the ones before it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: From this share of local events on there is nothing to explain.
LOCAL = 0.95
#: Of fewer events that are not local, no cause is told.
FEWEST = 100
#: A sum explains what is not local if it makes up this share of it.
_MOST = 0.5
#: One CPU receives this share: nearly everything.
_NEARLY_ALL = 0.9
#: Local events differ from those by chance by this share of the others, at most.
_BY_CHANCE = 0.1


class Cause(Enum):
    """What keeps events from being local. Where `locality explain` has the cause, its words."""

    LOCAL = "local"
    ONE_RX_CPU = "one CPU receives nearly everything"
    NO_WORKER = "no worker runs on the RX CPU"
    NOT_PINNED = "the worker may run on the RX CPU, or moved: not pinned"
    NO_PROGRAM = "no program: the hash chose the worker"
    WRONG_WORKER = "the program sends the RX CPU to a worker elsewhere"
    OTHER = "cannot be told"
    TOO_FEW = "too few events"

    def remedy(self, port: int | None) -> str:
        """The command that goes on from here; empty where there is none.

        Args:
            port: Of the server; None: not known.
        """
        command = _REMEDIES.get(self, "")
        if port is not None:
            return command.replace("PORT", str(port))
        # Both commands need a port, and top finds it.
        return "locality top" if "PORT" in command else command


#: With ``PORT`` for the port of the server.
_REMEDIES = {
    Cause.ONE_RX_CPU: "locality doctor",
    Cause.NO_WORKER: "locality explain --port PORT",
    Cause.NOT_PINNED: "locality explain --port PORT",
    Cause.NO_PROGRAM: "locality attach-cbpf --port PORT --map auto",
    Cause.WRONG_WORKER: "locality attach-cbpf --port PORT --map auto",
    Cause.OTHER: "locality explain --port PORT",
}


@dataclass(frozen=True)
class Evidence:
    """Sums of one server, or of several; the attributes are columns of a data set.

    moved, threads: None where threads are not known. program: None where it is not known.
    """

    known: int
    local: int
    by_chance: float
    no_worker: int
    reachable: int
    mapped: int
    busiest: int
    moved: int | None
    worker_cpus: int
    program: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Evidence:
        """From what the engine answered."""
        return cls(
            known=int(row["known"]),
            local=int(row["local"]),
            by_chance=float(row["by_chance"]),
            no_worker=int(row["no_worker"]),
            reachable=int(row["reachable"]),
            mapped=int(row["mapped"]),
            busiest=int(row["busiest"]),
            moved=None if row["moved"] is None else int(row["moved"]),
            worker_cpus=int(row["worker_cpus"]),
            program=row["program"],
        )

    @property
    def attainable(self) -> float | None:
        """The share that could be local, 0 to 1: what has a thread for its RX CPU."""
        return self.reachable / self.known if self.known else None

    @property
    def cause(self) -> Cause:  # noqa: PLR0911 - one for each cause
        """See the class of it."""
        away = self.known - self.local
        if not self.known or self.local >= LOCAL * self.known:
            return Cause.LOCAL
        if away < FEWEST:
            return Cause.TOO_FEW
        if self.busiest >= _NEARLY_ALL * self.known and self.worker_cpus > 1:
            return Cause.ONE_RX_CPU
        if self.no_worker >= _MOST * away:
            return Cause.NO_WORKER
        if self.moved is not None and self.moved >= _MOST * away:
            return Cause.NOT_PINNED
        if self.mapped >= _NEARLY_ALL * self.known and self.program != "":
            return Cause.WRONG_WORKER
        by_chance = abs(self.local - self.by_chance) <= _BY_CHANCE * (self.known - self.by_chance)
        if by_chance or self.program == "":
            return Cause.NO_PROGRAM
        return Cause.OTHER


def most_away(evidence: Iterable[tuple[str, Evidence]]) -> tuple[str, Evidence] | None:
    """The server with the most events that are not local; None of none."""
    return max(evidence, key=lambda one: one[1].known - one[1].local, default=None)
