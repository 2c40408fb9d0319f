"""Trials made up with an effect that is known, for whatever the load may do meanwhile.

Every simulator gives a `Trial` as a real run gives it: values of blocks or of connections, their
times and arms, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from locality.trial.observation import NO_PAIR, A, B, Design, Outcome, Trial, units_dtype

if TYPE_CHECKING:
    from locality.arrays import Array

#: What the load does while the trial runs.
Load = Literal["steady", "drift", "daily", "bursts", "stalls"]
#: How the times of single connections are distributed.
Tail = Literal["exponential", "lognormal", "pareto"]

#: A block's seconds, and the part of them that is the wash-out.
BLOCK_S, WASHOUT_S = 1.0, 0.2


@dataclass(frozen=True)
class World:
    """What a trial is made up of.

    Attributes:
        ratio: B's values are A's, times this.
        load: How the level of all values moves: not; to threefold; up and down by three, twice in
            the run; by chance, with a memory of about 20 units; or it is thirtyfold for a while,
            twice in the run, so that all that takes long is from these two moments.
        tail: Of single values: lognormal has sigma 2, Pareto has alpha 2.1.
        carried: By blocks: the part of an arm's effect that stays for the next block.
        of_block: By blocks: connections of one, whose mean is its value.
    """

    ratio: float = 1.0
    load: Load = "steady"
    tail: Tail = "exponential"
    carried: float = 0.0
    of_block: int = 50


def outcome(summary: Literal["mean", "p50", "p99"] = "mean") -> Outcome:
    """The outcome of all simulations."""
    return Outcome("queue_wait", "us", summary=summary, primary=True)


def levels(load: Load, count: int, draw: np.random.Generator) -> Array:
    """(count,) what the load multiplies the values of each unit by."""
    at = np.arange(count) / count
    if load == "drift":
        return np.asarray(3.0**at)
    if load == "daily":
        return np.asarray(np.exp(np.log(3) * np.sin(4 * np.pi * (at + draw.random()))))
    if load == "bursts":
        noise = draw.normal(size=count + 200)
        kernel = 0.95 ** np.arange(200) * np.sqrt(1 - 0.95**2)
        return np.asarray(np.exp(np.convolve(noise, kernel, "valid")[:count]))
    level = np.ones(count)
    if load == "stalls":
        for begin in draw.integers(0, max(count, 1), 2).tolist():
            level[begin : begin + max(1, count // 100)] = 30
    return level


def values_of(tail: Tail, shape: tuple[int, ...], draw: np.random.Generator) -> Array:
    """Values of single connections."""
    if tail == "lognormal":
        return np.asarray(20 * draw.lognormal(0, 2, shape))
    if tail == "pareto":
        return np.asarray(20 * (1 + draw.pareto(2.1, shape)))
    return np.asarray(draw.exponential(50, shape))


def by_blocks(
    world: World, pairs: int, seed: int, *, aa_pairs: int = 0, ended_early: bool = False
) -> Trial:
    """A trial by blocks.

    Args:
        world: What it is made up of.
        pairs: Of blocks.
        seed: Of everything in it.
        aa_pairs: Of the A/A part before; the load does not move there.
        ended_early: What it says of itself.
    """
    draw = np.random.default_rng(seed)
    what = outcome()
    # What carries over is connections that outlive the wash-out.
    lives = 5 * WASHOUT_S if world.carried else WASHOUT_S / 2
    design = Design("blocks", ("hash", "map"), 2 * pairs, seed, BLOCK_S, WASHOUT_S, lives_s=lives)
    parts = [
        _blocks(world, what, aa_pairs, draw, ratio=1.0),
        _blocks(world, what, pairs, draw, ratio=world.ratio),
    ]
    return Trial(design, (what,), parts[1], parts[0], ended_early=ended_early)


def _blocks(
    world: World, what: Outcome, pairs: int, draw: np.random.Generator, *, ratio: float
) -> Array:
    units = np.zeros(2 * pairs, units_dtype((what,)))
    first = draw.integers(0, 2, pairs)
    arm = np.column_stack([first, 1 - first]).ravel()
    before = np.concatenate([[A], arm[:-1]])[: 2 * pairs]
    units["arm"] = arm
    units["pair"] = np.repeat(np.arange(pairs), 2)
    units["time"] = np.arange(2 * pairs) * BLOCK_S + WASHOUT_S
    units["weight"] = world.of_block
    units["washout"] = WASHOUT_S
    single = values_of(world.tail, (2 * pairs, world.of_block), draw)
    at_work = (1 - world.carried) * (arm == B) + world.carried * (before == B)
    level = levels(world.load, 2 * pairs, draw)
    units[what.label] = single.mean(axis=1) * level * ratio**at_work
    return units


def by_connection(
    world: World,
    connections: int,
    seed: int,
    *,
    summary: Literal["mean", "p50", "p99"] = "mean",
    aa: int = 0,
    ended_early: bool = False,
) -> Trial:
    """A trial by connection; arguments as of `by_blocks`."""
    draw = np.random.default_rng(seed)
    what = outcome(summary)
    design = Design("connection", ("local", "other"), connections, seed)
    parts = [
        _connections(world, what, count, draw, ratio=ratio)
        for count, ratio in ((aa, 1.0), (connections, world.ratio))
    ]
    return Trial(design, (what,), parts[1], parts[0], ended_early=ended_early)


def _connections(
    world: World, what: Outcome, count: int, draw: np.random.Generator, *, ratio: float
) -> Array:
    units = np.zeros(count, units_dtype((what,)))
    units["time"] = np.sort(draw.random(count)) * 60
    units["pair"] = NO_PAIR
    units["arm"] = draw.integers(0, 2, count)
    units["weight"] = 1
    single = values_of(world.tail, (count,), draw)
    units[what.label] = single * levels(world.load, count, draw) * ratio ** units["arm"]
    return units
