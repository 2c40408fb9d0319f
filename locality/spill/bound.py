"""How long a queue may be before a connection is sent to another worker, from what is measured.

A connection that finds nobody waiting gains nothing elsewhere, and where the hash chooses, queues
of some length come by chance. So the bound is the length that 95 of 100 connections found, or less,
at a usual worker: who would be among the other five is spilled. With the bound at that length no
connection waits behind more than 95 of 100 did before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array

LEAST = 2
"""One connection may be on its way to accept(), and one come while it is."""
PERCENTILE = 95
FEWEST = 100
"""Connections of a socket, to say what 95 of 100 of them found."""
PART_OF_LIMIT = 4
"""At most a quarter of what the accept queue holds: it must not overflow before it spills."""


class Bound(NamedTuple):
    """A bound, and how it was chosen, in words."""

    connections: int
    why: str


def choose(met: Sequence[Array], limits: Sequence[int]) -> Bound:
    """Choose a bound.

    Args:
        met: For each socket: how many connections waited there when each of its own came.
        limits: How many connections may wait at each socket, as far as that is known.

    Returns:
        Of several sockets the one in the middle counts, and of two the one with the shorter queue:
        a queue that is long because one worker gets more than the others is what to avoid.
    """
    found = sorted(float(np.percentile(one, PERCENTILE)) for one in met if len(one) >= FEWEST)
    if not found:
        seen = sum(map(len, met))
        return Bound(
            LEAST, f"{seen} connections were seen, too few to choose by: the least that is chosen"
        )
    usual = found[(len(found) - 1) // 2]
    bound = max(LEAST, int(np.ceil(usual)))
    why = (
        f"{PERCENTILE} of 100 connections found {usual:g} or fewer waiting at a usual worker "
        f"({sum(map(len, met))} seen at {len(found)} sockets)"
    )
    if usual < LEAST:
        why += f"; {LEAST} is the least that is chosen"
    most = max(min(limits, default=bound * PART_OF_LIMIT) // PART_OF_LIMIT, 1)
    if bound > most:
        bound = most
        why += f"; but no more than 1/{PART_OF_LIMIT} of what an accept queue has room for"
    return Bound(bound, why)
