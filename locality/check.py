"""`locality check`: what this kernel and these privileges allow, found by trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality import accept, skb
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.bpf.ladder import Rung


@dataclass(frozen=True)
class Attempt:
    """One rung of one measurement, tried.

    Attributes:
        refusal: Why it cannot be used, or None if it can.
        chosen: Whether the measurement would stand on it.
    """

    measurement: str
    rung: str
    refusal: str | None
    chosen: bool


def attempts() -> list[Attempt]:
    """Load and attach every rung of every measurement for a moment."""
    return [
        *_try("accept", accept.RUNGS, lambda rung: accept.AcceptSource(rung=rung).close()),
        *_try("skb", skb.RUNGS, lambda rung: skb.SkbSource(rung=rung).close()),
    ]


def _try(
    measurement: str, rungs: Sequence[Rung], open_and_close: Callable[[str], None]
) -> list[Attempt]:
    tried: list[Attempt] = []
    for rung in rungs:
        refusal = None
        try:
            open_and_close(rung.name)
        except Unsupported as error:
            refusal = str(error).rpartition(f"{rung.name}: ")[2]
        chosen = refusal is None and not any(attempt.chosen for attempt in tried)
        tried.append(Attempt(measurement, rung.name, refusal, chosen))
    return tried
