"""What a trial shows: for each outcome the effect of B against A, its interval and a verdict.

How an effect is estimated: `locality.trial.paired` by blocks, `locality.trial.clustered` by
connection. How it is looked at during a run, and after a run that ended early:
`locality.trial.anytime`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.trial import anytime, clustered, doubts, paired
from locality.trial import scale as scales
from locality.trial.amounts import amount
from locality.trial.announced import why_unlike
from locality.trial.estimate import Estimate, smallest
from locality.trial.holm import with_small_p
from locality.trial.observation import NO_PAIR, A, B
from locality.trial.scale import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.arrays import Array
    from locality.trial.observation import Design, Outcome, Trial
    from locality.trial.scale import Scale

#: By connection, batches that are compared while the trial runs: how many are planned, and the
#: fewest connections of one for each statistic.
_BATCHES = 100
_OF_BATCH = {"mean": 20, "p50": 20, "p99": 200}


class Verdict(Enum):
    """What the interval of an outcome says; its value is the word for people."""

    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no difference shown"
    NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Interval:
    """Where an effect lies, with a confidence of 95 %.

    Attributes:
        estimate: The effect of B against A, in the scale.
        low: The lower end.
        high: The upper end.
        scale: `relative`: a share of A's value, 0.1 is 10 % more. `difference`: B - A, in the
            outcome's unit; where an outcome can be zero.
        units: Units that it rests on, both arms together.
        method: How it was found, in words.
        anytime: Whether it holds although somebody looked at it and ended the run.
    """

    estimate: float
    low: float
    high: float
    scale: Scale
    units: int
    method: str
    anytime: bool = False

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is shown."""
        return not self.low <= 0 <= self.high

    @property
    def at_most(self) -> float:
        """The effect is no larger than this in either direction."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Effect:
    """What a trial shows of one outcome.

    Attributes:
        outcome: Which.
        a: Arm A's value, in the outcome's unit; None if there is none. By blocks, and of a trial
            by connection that ended early by batches of connections, it is the mean of these, the
            geometric mean where the scale is relative.
        b: Arm B's.
        difference: b - a.
        relative: The effect as a share of A's value; None where A's is zero or not known.
        interval: Of the effect; None where there is too little to tell.
        verdict: By the interval alone.
        smallest: The smallest effect that this run could have shown: in 80 of 100 such runs the
            interval would leave zero out. In the interval's scale; None where there is no
            interval.
        p: Of the randomisation test: how often chance alone gives an effect as large. After a
            run that ended early it is the anytime-valid one. None where there is no interval.
        units: Units used, both arms together.
        aa: The interval of the A/A part, which should hold zero; None where there is none.
        warnings: What puts this figure in doubt, a sentence each.
    """

    outcome: Outcome
    a: float | None
    b: float | None
    difference: float | None
    relative: float | None
    interval: Interval | None
    verdict: Verdict
    smallest: float | None
    p: float | None
    units: int
    aa: Interval | None = None
    warnings: tuple[str, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether the interval shows a difference, for better or for worse."""
        return self.interval is not None and self.interval.excludes_zero

    @property
    def low(self) -> float | None:
        """The lower end of the interval, in its scale."""
        return self.interval.low if self.interval else None

    @property
    def high(self) -> float | None:
        """The upper end of the interval, in its scale."""
        return self.interval.high if self.interval else None


class _Found(NamedTuple):
    """What some units show of an outcome: an estimate, if there is one, and the arms' values."""

    estimate: Estimate | None
    scale: Scale
    units: int
    anytime: bool = False
    a: float | None = None
    b: float | None = None
    doubts: tuple[str, ...] = ()

    def interval(self) -> Interval | None:
        """For people."""
        if self.estimate is None:
            return None
        ends = self.estimate.effect, self.estimate.low, self.estimate.high
        at, low, high = (shown(one, self.scale) for one in ends)
        method = self.estimate.method
        return Interval(at, low, high, self.scale, self.units, method, self.anytime)


def effects(trial: Trial) -> list[Effect]:
    """What a trial shows of each of its outcomes, in their order.

    If it ended early, perhaps for what somebody saw of it, intervals are anytime-valid.
    """
    return [*with_small_p([_effect(trial, outcome) for outcome in trial.outcomes])]


def interval_so_far(trial: Trial, outcome: Outcome) -> Interval | None:
    """What can be said of an outcome now; None while there is too little.

    It may be asked for after each unit, and the run ended by the answer: see
    `locality.trial.anytime`. By connection it is the mean difference of batches of consecutive
    connections, which is a little different from the difference of the arms.
    """
    return _so_far(trial, outcome).interval()


def smallest_effect(aa_units: Array, outcome: Outcome, planned: int) -> float | None:
    """The smallest effect that a trial can show, told before it from its A/A part.

    Args:
        aa_units: Of the A/A part.
        outcome: Which.
        planned: Units of the trial, both arms together.

    Returns:
        What 80 of 100 such trials would show: a share of A's value, or where that can be zero a
        difference in the outcome's unit. None where there is too little to tell.
    """
    found = _found(aa_units, outcome)
    least = _least(found, planned, by_blocks=bool((aa_units["pair"] != NO_PAIR).any()))
    return None if least is None else shown(least, found.scale)


def _least(found: _Found, planned: int, *, by_blocks: bool) -> float | None:
    """The smallest effect that so many units show, if they scatter as these: as worked out."""
    if planned <= 0 or found.estimate is None:
        return None
    error = found.estimate.error * math.sqrt(found.units / planned)
    freedom = max(1, planned // 2 - 1) if by_blocks else found.estimate.freedom
    return smallest(error, freedom)


def _effect(trial: Trial, outcome: Outcome) -> Effect:
    found = _found(trial.units, outcome, trial.design)
    used = _so_far(trial, outcome) if trial.ended_early else found
    interval = used.interval()
    least = shown(used.estimate.smallest, used.scale) if used.estimate else None
    before = _found(trial.aa_units, outcome)
    aa = before.interval()
    # What the interval is of: of a trial that ended early, of its batches.
    a, b = (used.a, used.b) if used.estimate else (found.a, found.b)
    difference = None if a is None or b is None else b - a
    relative = None
    if interval is not None and interval.scale == "relative":
        relative = interval.estimate
    elif difference is not None and a:
        relative = difference / abs(a)
    verdict = _verdict(outcome, interval)
    unlike = _unlike_announced(trial, outcome, before, used)
    return Effect(
        outcome,
        a,
        b,
        difference,
        relative,
        interval,
        verdict,
        least,
        used.estimate.p if used.estimate else None,
        used.units,
        aa,
        (
            *doubts.of_outcome(trial, outcome, interval, aa),
            *found.doubts,
            *(unlike if verdict is Verdict.NO_DIFFERENCE else ()),
        ),
    )


def _unlike_announced(
    trial: Trial, outcome: Outcome, before: _Found, used: _Found
) -> Iterator[str]:
    """Why this run could show much more or less than the A/A part let expect."""
    if used.estimate is None or before.scale != used.scale:
        return
    blocks = trial.design.kind == "blocks"
    announced = _least(before, trial.design.planned, by_blocks=blocks)
    as_many = _least(before, used.units, by_blocks=blocks)
    if announced is None or as_many is None:
        return
    units = "blocks" if blocks else "connections"
    why = why_unlike(announced, as_many, used.estimate.smallest, units)
    if why:
        expected = amount(shown(announced, used.scale), used.scale, outcome.unit)
        yield f"by the A/A part, effects from about {expected} were to be seen: {why}"


def _verdict(outcome: Outcome, interval: Interval | None) -> Verdict:
    if interval is None:
        return Verdict.NOT_KNOWN
    if not interval.excludes_zero:
        return Verdict.NO_DIFFERENCE
    lower = interval.high < 0
    return Verdict.BETTER if lower == (outcome.better == "lower") else Verdict.WORSE


def _found(units: Array, outcome: Outcome, design: Design | None = None) -> _Found:
    """What units show, as if nobody had looked at them before; doubts only with a design."""
    if (units["pair"] != NO_PAIR).any():
        pairs = paired.pairs_of(units, outcome.label)
        a, b = (paired.level(of_arm, pairs.scale) for of_arm in (pairs.a, pairs.b))
        spoken = tuple(doubts.of_pairs(pairs, design)) if design else ()
        count = 2 * len(pairs.values)
        return _Found(paired.estimate(pairs.values), pairs.scale, count, False, a, b, spoken)
    connections = clustered.connections_of(units, outcome.label, outcome.summary)
    values, arm, summary, scale = connections
    one, other = (
        clustered.statistic(values[arm == side], summary) if (arm == side).any() else None
        for side in (A, B)
    )
    spoken = tuple(doubts.of_connections(units, outcome.label, summary)) if design else ()
    estimate = clustered.estimate(connections)
    return _Found(estimate, scale, len(values), False, one, other, spoken)


def _so_far(trial: Trial, outcome: Outcome) -> _Found:
    """What the confidence sequence says of an outcome."""
    label, planned = outcome.label, trial.design.planned
    if trial.design.kind == "blocks":
        pairs = paired.pairs_of(trial.units, label)
        values, scale, planned, of_each = pairs.values, pairs.scale, max(1, planned // 2), 2
        arms, what = (pairs.a, pairs.b), "pairs"
    else:
        of_each = max(_OF_BATCH[outcome.summary], planned // _BATCHES)
        values, arms, scale = _batches(trial.units, outcome, of_each)
        planned, what = max(1, planned // of_each), "batches of consecutive connections"
    finite = np.isfinite(values)
    values = values[finite]
    count = len(values)
    ends = anytime.interval(values, planned)
    if ends is None:
        return _Found(None, scale, count * of_each)
    error = float(values.std(ddof=1)) / math.sqrt(count)
    method = f"confidence sequence over {count} {what}"
    p = anytime.p_value(values, planned)
    estimate = Estimate(float(values.mean()), *ends, error, count - 1, p, method)
    a, b = (paired.level(of_arm[finite], scale) for of_arm in arms)
    return _Found(estimate, scale, count * of_each, anytime=True, a=a, b=b)


def _batches(
    units: Array, outcome: Outcome, of_each: int
) -> tuple[Array, tuple[Array, Array], Scale]:
    """Of each batch of connections, in the order in which they became known.

    Returns:
        (batches,) the difference of the arms; the values of A and B; and the scale.
    """
    known = units[scales.known(units[outcome.label])]
    scale = scales.of_connections(known[outcome.label])
    found: list[tuple[float, float]] = []
    for start in range(0, len(known) - of_each + 1, of_each):
        batch = known[start : start + of_each]
        arms = [batch[outcome.label][batch["arm"] == arm] for arm in (A, B)]
        if not all(len(arm) for arm in arms):
            continue
        one, other = (clustered.statistic(arm, outcome.summary) for arm in arms)
        found.append((one, other))
    a, b = np.array(found, np.float64).reshape(-1, 2).T
    return np.asarray(scales.contrast(a, b, scale)), (a, b), scale
