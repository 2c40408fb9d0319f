"""What `locality lab trial` tries: the loads, the comparisons, and what each of them showed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from locality.lab.nginx import LARGE
from locality.trial.cpu_time import cpu_time
from locality.trial.observation import Outcome

if TYPE_CHECKING:
    from locality.lab.nginx import Nginx
    from locality.trial.counters import Reading
    from locality.trial.effects import Effect

REQUESTS = 20
"""Requests of a connection that carries several: it ends soon, so that blocks can be short."""
SPIN_US = 50.0
"""What a remote read costs more in the server that has to be found out."""

AA, MAP, REVERSED = "A/A", "map", "reversed"
COMPARISONS = {
    AA: "the hash against the hash",
    MAP: "the map to the nearest worker against the hash",
    REVERSED: "the map to another worker against the hash",
}
"""What is compared with what; B against A."""


@dataclass(frozen=True)
class Scenario:
    """A load on nginx.

    Attributes:
        name: In words.
        path: What is asked for.
        keep_alive: Whether a connection carries several requests.
    """

    name: str
    path: str
    keep_alive: bool


SCENARIOS = (
    Scenario("small answers, a connection each", "", keep_alive=False),
    Scenario(f"small answers, {REQUESTS} a connection", "", keep_alive=True),
    Scenario("64 KiB answers, a connection each", LARGE, keep_alive=False),
    Scenario(f"64 KiB answers, {REQUESTS} a connection", LARGE, keep_alive=True),
)


@dataclass(frozen=True)
class Shown:
    """What one comparison showed of one outcome.

    Attributes:
        scenario: The load, in words.
        comparison: What was compared.
        local: The accept-local share of A and of B, in words; empty for A/A.
        effect: What it showed.
        missing: Where it is not known: why.
    """

    scenario: str
    comparison: str
    local: str
    effect: Effect
    missing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For programs; intervals of a relative effect are shares of A's value."""
        effect, interval = self.effect, self.effect.interval
        return {
            "scenario": self.scenario,
            "comparison": self.comparison,
            "local": self.local,
            "outcome": effect.outcome.label,
            "unit": effect.outcome.unit,
            "a": effect.a,
            "b": effect.b,
            "scale": interval.scale if interval else None,
            "estimate": interval.estimate if interval else None,
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "smallest": effect.smallest,
            "units": effect.units,
            "verdict": effect.verdict.value,
            "missing": self.missing,
        }


class RequestFigures:
    """CPU time for each request, and requests a second.

    What comes in over taps is received by the wire's threads: they do what softirqs do for a
    card, so their CPU time is counted with nginx's, and nginx's alone is shown beside it. Where
    the kernel carries the packets, nginx's is all that is counted.

    Args:
        nginx: The server.
        wire: The wire's process; None where the kernel carries the packets.

    Attributes:
        outcomes: What is compared.
    """

    def __init__(self, nginx: Nginx, wire: int | None) -> None:
        self.outcomes: tuple[Outcome, ...] = (
            Outcome("cpu_per_request", "us"),
            *(() if wire is None else (Outcome("nginx_per_request", "us"),)),
            Outcome("requests", "1/s", "higher"),
        )
        self._nginx = nginx
        self._wire = () if wire is None else (wire,)
        self._first, self._before = 0, 0.0

    def begin(self) -> None:
        """Ask for the count; what is asked itself counts from here."""
        self._first, self._before = self._nginx.requests(), self._received()

    def end(self, counted: Reading) -> dict[str, float]:
        """The count since, without the question that it took."""
        received = self._received() - self._before
        answered = self._nginx.requests() - self._first - 1
        each = float("nan") if counted.cpu is None or not answered else counted.cpu / answered
        return {
            "cpu_per_request": (each + received / max(1, answered)) / 1000,
            "nginx_per_request": each / 1000,
            "requests": answered / (counted.time / 1e9),
        }

    def _received(self) -> float:
        """ns on a CPU of the wire's threads."""
        spent = cpu_time(self._wire)
        return float("nan") if spent is None else spent
