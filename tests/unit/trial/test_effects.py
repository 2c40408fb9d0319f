"""Effects of trials made up by hand: what is compared, on which scale, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.trial import student
from locality.trial.effects import Effect, Verdict, effects, smallest_effect
from locality.trial.holm import after_holm, holm
from locality.trial.observation import Outcome, Trial, units_dtype
from tests.unit.trial.made_up import SPEED, WAIT, blocks, connections, trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array

DRAW = np.random.default_rng(5)
NOISE = DRAW.lognormal(0, 0.1, 400)


def effect_of(made: Trial) -> Effect:
    (effect,) = effects(made)
    return effect


def halved(count: int = 10) -> list[tuple[float, float]]:
    """Pairs in which B has half of A, nearly."""
    return [(100 * noise, 50.0) for noise in NOISE[:count]]


# Bugs: A and B exchanged; a logarithm given to people; another interval than the textbook's.
def test_pairs_of_blocks_are_compared_as_ratios() -> None:
    effect = effect_of(trial(blocks(halved())))
    logs = np.log(NOISE[:10])
    assert effect.a == pytest.approx(100 * math.exp(logs.mean()))
    assert effect.b == pytest.approx(50)
    assert effect.relative == pytest.approx(0.5 / math.exp(logs.mean()) - 1)
    reach = student.quantile(0.975, 9) * logs.std(ddof=1) / math.sqrt(10)
    low, high = (0.5 / math.exp(logs.mean() + end) - 1 for end in (reach, -reach))
    assert (effect.low, effect.high) == pytest.approx((low, high))
    assert effect.verdict is Verdict.BETTER
    assert effect.units == 20
    # 2 of 1024 assignments are as extreme.
    assert effect.p == pytest.approx(2 / 1024)


# Bug: less is taken for better where more is.
def test_the_verdict_goes_by_what_is_better() -> None:
    units = blocks(halved(), SPEED)
    assert effect_of(trial(units, SPEED)).verdict is Verdict.WORSE
    swapped = blocks([(b, a) for a, b in halved()], SPEED)
    assert effect_of(trial(swapped, SPEED)).verdict is Verdict.BETTER


# Bug: the ratio of values that can be zero or negative.
def test_values_that_can_be_zero_are_compared_as_differences() -> None:
    pairs = [(float(number % 3), number % 3 + 2 + noise) for number, noise in enumerate(NOISE[:30])]
    effect = effect_of(trial(blocks(pairs)))
    assert effect.interval is not None
    assert effect.interval.scale == "difference"
    assert effect.low is not None
    assert effect.high is not None
    assert effect.low < 3.0 < effect.high
    assert effect.verdict is Verdict.WORSE
    assert effect.difference == pytest.approx(3, abs=0.1)
    retransmits = [float(number % 9 == 0) for number in range(200)]
    rare = effect_of(trial(connections(retransmits, retransmits)))
    assert rare.interval is not None
    assert rare.interval.scale == "difference"
    assert rare.verdict is Verdict.NO_DIFFERENCE


# Bugs: a pair with one block counts; a value that is not known counts as zero; an infinite one.
@pytest.mark.parametrize("unknown", [math.nan, math.inf, -1e300])
def test_only_whole_pairs_count(unknown: float) -> None:
    whole = effect_of(trial(blocks(halved(20))))
    more = effect_of(trial(blocks([*halved(20), (unknown, 1.0), (1.0, unknown)])))
    assert (more.units, more.low, more.high) == (40, whole.low, whole.high)


# Bug: whatever was asked for, means are compared.
@pytest.mark.parametrize(
    ("summary", "a", "b"), [("mean", 50.5, 101.0), ("p50", 50, 100), ("p99", 99, 198)]
)
def test_connections_are_compared_by_the_statistic_asked_for(
    summary: str, a: float, b: float
) -> None:
    outcome = Outcome("queue_wait", "us", summary=summary)  # type: ignore[arg-type]
    values = np.random.default_rng(1).permutation(np.tile(np.arange(1.0, 101), 20))
    made = trial(connections(values.tolist(), (2 * values).tolist(), outcome), outcome)
    effect = effect_of(made)
    assert (effect.a, effect.b) == pytest.approx((a, b))
    assert effect.relative == pytest.approx(1.0)
    assert effect.low is not None
    assert effect.high is not None
    assert 0.6 < effect.low <= 1.0 <= effect.high < 1.5
    assert effect.verdict is Verdict.WORSE


# Bug: two connections of a client in a row count as independent of each other: values that come in
# runs of twenty have an interval that is as narrow as if each were new.
def test_connections_that_hang_together_widen_the_interval() -> None:
    draw = np.random.default_rng(2)
    alone = draw.lognormal(0, 1, 2000)
    runs = np.repeat(draw.lognormal(0, 1, 20), 100)
    arms = draw.random(2000) < np.repeat(draw.random(20), 100)

    def width(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        units = connections(values[::2].tolist(), values[1::2].tolist())
        units["arm"] = arms
        units[WAIT.label] = values
        interval = effect_of(trial(units)).interval
        assert interval is not None
        return interval.high - interval.low

    assert width(runs) > 1.5 * width(alone)


# Bugs: an interval out of nothing, a division by zero or a warning of numpy where there is little.
@pytest.mark.parametrize(
    "units",
    [
        blocks([]),
        blocks(halved(5)),
        blocks([(0.0, 0.0)] * 40),
        blocks([(math.nan, math.nan)] * 40),
        connections([], []),
        connections([1.0] * 20, [2.0] * 20),
        connections([0.0] * 200, [0.0] * 200),
        connections([math.nan] * 200, [1.0] * 200),
    ],
    ids=lambda units: f"{len(units)}-{units[WAIT.label][:1]}",
)
@pytest.mark.parametrize("ended_early", [False, True], ids=["whole", "early"])
def test_too_little_is_not_known(units: Array, *, ended_early: bool) -> None:
    made = trial(units, ended_early=ended_early)
    effect = effect_of(made)
    assert effect.interval is None
    assert (effect.verdict, effect.p, effect.smallest) == (Verdict.NOT_KNOWN, None, None)
    assert "too few" in effect.warnings[0] or "are 0" in effect.warnings[0]


# Bugs: values that never vary end in a division by zero; a difference that is always there is none.
def test_values_that_do_not_vary() -> None:
    same = effect_of(trial(blocks([(3.0, 3.0)] * 30)))
    assert same.verdict is Verdict.NOT_KNOWN
    assert same.warnings[0] == "A and B have the same value in each of 30 pairs"
    twice = effect_of(trial(blocks([(3.0, 6.0)] * 30)))
    assert (twice.low, twice.high) == pytest.approx((1, 1))
    assert twice.verdict is Verdict.WORSE
    constant = effect_of(trial(connections([3.0] * 200, [6.0] * 200)))
    assert (constant.low, constant.high) == pytest.approx((1, 1))


# Bug: a run that somebody ended when it looked well is judged as if nobody had looked.
def test_a_trial_that_ended_early_has_wider_intervals() -> None:
    pairs = [(one, other) for one, other in zip(NOISE[:60], 0.9 * NOISE[60:120], strict=True)]
    whole, early = (
        effect_of(trial(blocks(pairs), ended_early=ended)).interval for ended in (False, True)
    )
    assert whole is not None
    assert early is not None
    assert (whole.anytime, early.anytime) == (False, True)
    assert early.low < whole.low < whole.high < early.high
    assert "confidence sequence" in early.method


# Bug: of a run that ended early the interval is of batches, and the values beside it of all
# connections: half of them were slow once, so B is larger than A, and the effect says less.
def test_the_values_of_a_trial_that_ended_early_fit_the_effect() -> None:
    a = np.concatenate([10 + NOISE[:2000] % 1, np.full(400, 300.0)])
    b = np.concatenate([9 + NOISE[:2000] % 1, np.full(400, 400.0)])
    effect = effect_of(trial(connections(list(a), list(b)), ended_early=True))
    assert effect.a is not None
    assert effect.interval is not None
    assert effect.b == pytest.approx(effect.a * (1 + effect.interval.estimate))


# Bug: an A/A part that shows a difference is passed over.
def test_a_against_a_that_differs_is_said() -> None:
    effect = effect_of(trial(blocks(halved()), aa_units=blocks(halved())))
    assert effect.aa is not None
    assert effect.aa.excludes_zero
    assert any("A against A" in warning for warning in effect.warnings)
    fine = blocks([(one, other) for one, other in zip(NOISE[:20], NOISE[20:40], strict=True)])
    effect = effect_of(trial(blocks(halved()), aa_units=fine))
    assert effect.aa is not None
    assert not effect.aa.excludes_zero
    assert effect.warnings == ()


# Bug: the same trial shows something else when it is looked at again.
def test_the_same_units_give_the_same_interval() -> None:
    made = trial(connections(NOISE[:200].tolist(), NOISE[200:].tolist()))
    assert effect_of(made) == effect_of(made)


def effect_with(p: float | None) -> Effect:
    return Effect(WAIT, 1, 1, 0, 0, None, Verdict.NOT_KNOWN, None, p, 2)


# Holm's own example of how the steps go: each p times how many are left, and never less than one
# before it.
@pytest.mark.parametrize(
    ("values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.9, None, 0.8], [1.0, None, 1.0]),
        ([], []),
    ],
)
def test_holm(values: Sequence[float | None], corrected: Sequence[float | None]) -> None:
    found = holm([effect_with(p) for p in values])
    assert found == [None if one is None else pytest.approx(one) for one in corrected]


# Bugs: a division by zero; a plan that says the same however long the run is.
def test_the_smallest_effect_is_not_known_from_nothing() -> None:
    assert smallest_effect(np.zeros(0, units_dtype((WAIT,))), WAIT, 100) is None
    assert smallest_effect(blocks(halved()), WAIT, 0) is None
    told = [smallest_effect(blocks(halved(40)), WAIT, planned) for planned in (80, 320)]
    assert told[0] is not None
    assert told[1] is not None
    # Four times as long: half as much.
    assert told[1] / told[0] == pytest.approx(0.5, abs=0.05)


def heavy(count: int = 12) -> list[tuple[float, float]]:
    """Pairs in which B always has a little more, and once a hundred times as much."""
    return [(100.0, 110.0 + number) for number in range(count - 1)] + [(100.0, 10_000.0)]


# Bug: an outcome whose interval holds zero is said to differ, because its p is small: two verdicts
# of one outcome.
def test_a_small_p_decides_nothing() -> None:
    effect = effect_of(trial(blocks(heavy())))
    assert effect.interval is not None
    assert not effect.interval.excludes_zero
    assert effect.p is not None
    assert effect.p < 0.01
    assert effect.verdict is Verdict.NO_DIFFERENCE
    assert after_holm([effect]) == [False]
    assert "but the interval holds zero: nothing is decided" in " ".join(effect.warnings)
    clear = effect_of(trial(blocks(halved())))
    assert after_holm([clear, effect_with(None)]) == [True, None]
    assert not any("p is small" in warning for warning in clear.warnings)


# Bug: a trial is announced to show effects from 3 %, and ends with 40 % and not a word of why.
@pytest.mark.parametrize(
    ("scatter", "planned", "reason"),
    [
        (1.0, 160, "the blocks of the trial scattered more than those of the A/A part"),
        (0.05, 4000, "fewer blocks were used than planned"),
        (0.05, 160, ""),
    ],
)
def test_what_was_announced_and_what_could_be_shown(
    scatter: float, planned: int, reason: str
) -> None:
    draw = np.random.default_rng(2)
    before, during = (
        blocks([(100 * one, 100 * other) for one, other in draw.lognormal(0, sigma, (80, 2))])
        for sigma in (0.05, scatter)
    )
    made = trial(during, aa_units=before)
    effect = effect_of(replace(made, design=replace(made.design, planned=planned)))
    assert effect.verdict is Verdict.NO_DIFFERENCE
    said = [warning for warning in effect.warnings if "by the A/A part, effects" in warning]
    assert [reason in warning for warning in said] == ([True] if reason else [])
