"""The plan of a trial by blocks: how long a block is, and in which order the arms come.

A connection that was made in one block and lives on in the next one carries the first block's
choice over. So the beginning of each block is thrown away (the wash-out), for as long as all but a
few connections last, and a block is ten times as long as that. Within each pair the order is that
of a coin: a load that rises or falls over the pair then favours neither arm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from locality.errors import LocalityError
from locality.text import duration
from locality.trial.observation import A, B

#: Blocks are so many times as long as their wash-out.
TIMES_WASHOUT = 10
#: Counters of the kernel have steps of 10 ms: a shorter block would measure these.
SHORTEST_BLOCK_S = 1.0
SHORTEST_WASHOUT_S = 0.1
#: What most connections do not outlive, in percent of them.
CARRIED = 99.0
#: Fewer pairs than this show nothing.
FEWEST_PAIRS = 6
#: Where fewer of the connections ended than this share, their lifetimes are not known.
_ENDED = 0.5


@dataclass(frozen=True)
class Lifetimes:
    """How long the connections of a port last, as far as a look at it tells.

    Attributes:
        seconds: How long the look was.
        ended: Connections that were accepted and ended in it.
        still_open: Those that were accepted in it and did not end.
        most_s: What all but one in a hundred of the first did not outlive; None of none.
    """

    seconds: float
    ended: int
    still_open: int
    most_s: float | None

    @property
    def known(self) -> bool:
        """Whether they are known: most connections ended during the look."""
        return self.ended > 0 and self.ended >= _ENDED * (self.ended + self.still_open)

    @property
    def sentence(self) -> str:
        """What is known, for people."""
        if not self.ended + self.still_open:
            return f"no connection was accepted in {self.seconds:g} s"
        if not self.known or self.most_s is None:
            return (
                f"{self.still_open} of {self.ended + self.still_open} connections that were "
                f"accepted in {self.seconds:g} s had not ended: how long they last is not known, "
                "but longer than that"
            )
        longest = duration(self.most_s * 1e9)
        return (
            f"99 % of {self.ended} connections ended within {longest}; {self.still_open} had not "
            f"ended after {self.seconds:g} s"
        )


@dataclass(frozen=True)
class Blocks:
    """How long blocks are, and how many.

    Attributes:
        block_s: Seconds of a block, with its wash-out.
        washout_s: Seconds at its beginning that are thrown away.
        pairs: How many pairs of blocks.
        doubt: What speaks against these, in words; empty if nothing does.
    """

    block_s: float
    washout_s: float
    pairs: int
    doubt: str = ""

    @property
    def seconds(self) -> float:
        """How long all of them take."""
        return 2 * self.pairs * self.block_s


def plan_blocks(
    lifetimes: Lifetimes,
    *,
    duration_s: float,
    block_s: float | None = None,
    washout_s: float | None = None,
    pairs: int | None = None,
) -> Blocks:
    """How long blocks must be for these connections, and how many there is time for.

    Args:
        lifetimes: What was measured of the connections.
        duration_s: How long the trial may take, where `pairs` does not say it.
        block_s: The length that the user wants.
        washout_s: The wash-out that the user wants.
        pairs: So many pairs.

    Raises:
        LocalityError: There is no time for enough pairs, or the wash-out leaves nothing.
    """
    carried = lifetimes.most_s if lifetimes.known else None
    washout = washout_s
    if washout is None:
        washout = max(SHORTEST_WASHOUT_S, carried or 0.0)
        if block_s is not None:  # never more than half of what was asked for
            washout = min(washout, block_s / 2)
    block = block_s
    if block is None:
        block = max(SHORTEST_BLOCK_S, TIMES_WASHOUT * washout)
    if washout >= block:
        raise LocalityError(
            f"a wash-out of {washout:g} s leaves nothing of a block of {block:g} s", exit_code=2
        )
    count = pairs or int(duration_s // (2 * block))
    if count < FEWEST_PAIRS and pairs is None:
        raise LocalityError(
            f"{duration_s:g} s have room for {count} pairs of blocks of {block:g} s, and "
            f"{FEWEST_PAIRS} pairs are the fewest that show anything: give --duration "
            f"{int(np.ceil(2 * block * FEWEST_PAIRS))} or more, or shorter blocks (--block), which "
            "connections outlive"
        )
    return Blocks(block, washout, count, _doubt(lifetimes, block, washout))


def _doubt(lifetimes: Lifetimes, block: float, washout: float) -> str:
    """What connections that outlive the wash-out do to these blocks; empty if nothing."""
    if not lifetimes.ended + lifetimes.still_open:
        return ""
    if not lifetimes.known:
        return (
            f"Most connections last longer than {lifetimes.seconds:g} s, so they may outlive a "
            f"block of {block:g} s and carry its arm into the next one. Give --block ten times "
            "their lifetime."
        )
    needed = lifetimes.most_s or 0.0
    if needed <= washout:
        return ""
    return (
        f"1 % of the connections last longer than {needed:.3g} s, and the wash-out has "
        f"{washout:g} s: they carry one arm into the next block. This needs --block "
        f"{TIMES_WASHOUT * needed:.3g}."
    )


def order(pairs: int, draw: np.random.Generator) -> list[tuple[int, int]]:
    """The arms of each pair in their order: AB or BA, by a coin."""
    return [(A, B) if first == A else (B, A) for first in draw.integers(A, B, pairs, endpoint=True)]
