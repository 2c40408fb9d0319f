"""How much is measured: on this machine, in a guest, and in the guests that only show growth."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How many rounds, and how long they are.

    Attributes:
        lives: How often each contestant is started.
        accepts: Connections of a small storm, and of one ten times as large.
        rounds: Of everything that is compared in turns.
        turn_s: Seconds of one turn of the ping-pong.
        lab_turn_s: And of the lab.
        compilers: Whether those take part that compile by bcc, which takes a minute in a guest.
        lab: Whether nginx's requests/s are measured.
        ends: In time.monotonic(): no contestant is started later.
    """

    lives: int
    accepts: tuple[int, int]
    rounds: int
    turn_s: float
    lab_turn_s: float
    compilers: bool = True
    lab: bool = True
    ends: float = float("inf")

    @property
    def placement(self) -> str:
        """Where a ping-pong's ends are."""
        return "cross CPU" if len(os.sched_getaffinity(0)) > 1 else "same CPU"

    @property
    def over(self) -> bool:
        """Whether there is no time for another contestant."""
        return time.monotonic() > self.ends


HERE = Plan(lives=3, accepts=(3_000, 30_000), rounds=7, turn_s=0.05, lab_turn_s=0.3)
GUEST = Plan(lives=1, accepts=(300, 3_000), rounds=7, turn_s=0.1, lab_turn_s=0.5)
GROWTH = Plan(
    lives=1,
    accepts=(200, 2_000),
    rounds=5,
    turn_s=0.1,
    lab_turn_s=0.5,
    compilers=False,
    lab=False,
)
SHORT = Plan(lives=1, accepts=(200, 2_000), rounds=2, turn_s=0.05, lab_turn_s=0.1)
PLANS = {"here": HERE, "guest": GUEST, "growth": GROWTH, "short": SHORT}
