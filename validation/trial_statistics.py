"""Measure how often the statistics of `locality trial` are right, on trials with a known effect.

    python -m validation.trial_statistics                  print the page in Markdown
    python -m validation.trial_statistics --csv FILE       write each figure, too
    python -m validation.trial_statistics --trials 100     so many of each instead of 1,000

Nothing is measured on the network: `validation.simulated_trials` makes the trials up. It takes
about ten minutes of one CPU; BLAS should be told to take one thread (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from locality.trial import student
from locality.trial.anytime import BURN_IN, evidence
from locality.trial.doubts import of_trial
from locality.trial.effects import Verdict, effects, interval_so_far
from tests.checkout import commit
from validation.markdown import table
from validation.simulated_trials import World, by_blocks, by_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.trial.effects import Effect
    from locality.trial.observation import Trial

TRIALS = 1000
#: Units of a trial: pairs of blocks, or connections.
FEW, SOME, MANY = 8, 30, 100
HUNDREDS, THOUSANDS = 400, 4000


@dataclass(frozen=True)
class Case:
    """Trials of one plan in one world.

    Attributes:
        plan: `blocks`, with `size` pairs; or `connection`, with `size` connections.
    """

    plan: Literal["blocks", "connection"]
    size: int
    world: World
    summary: Literal["mean", "p50", "p99"] = "mean"

    def trial(self, seed: int) -> Trial:
        """The trial with this number."""
        if self.plan == "blocks":
            return by_blocks(self.world, self.size, seed)
        return by_connection(self.world, self.size, seed, summary=self.summary)

    @property
    def units(self) -> str:
        """How large it is, in words."""
        return f"{self.size:,} {'pairs' if self.plan == 'blocks' else 'connections'}"


@dataclass(frozen=True)
class Found:
    """What many trials of a case showed: shares of all of them.

    Attributes:
        holds: The interval holds the true effect.
        right: The verdict is that of the true effect: worse where it is above zero.
        wrong: The verdict is the opposite, or a difference where there is none.
        unknown: There is no interval.
        doubted: Some doubt is told.
        smallest: The median of the smallest effect that a trial says it could show.
    """

    holds: float
    right: float
    wrong: float
    unknown: float
    doubted: float
    smallest: float


def run(case: Case, trials: int, pool: ProcessPoolExecutor) -> Found:
    """Judge so many trials of a case."""
    judged = [*pool.map(partial(_judged, case), range(trials), chunksize=20)]
    holds, right, wrong, unknown, doubted = (
        statistics.mean(one[place] for one in judged) for place in range(5)
    )
    known = [one[5] for one in judged if not math.isnan(one[5])]
    return Found(holds, right, wrong, unknown, doubted, statistics.median(known or [math.nan]))


def _judged(case: Case, seed: int) -> tuple[bool, bool, bool, bool, bool, float]:
    trial = case.trial(seed)
    (effect,) = effects(trial)
    truth = case.world.ratio - 1
    told = bool(effect.warnings) or any(of_trial(trial))
    holds = effect.interval is not None and effect.interval.low <= truth <= effect.interval.high
    return (
        holds,
        effect.verdict is _verdict_of(truth),
        effect.verdict in {Verdict.BETTER, Verdict.WORSE} - {_verdict_of(truth)},
        effect.interval is None,
        told,
        _number(effect),
    )


def _verdict_of(truth: float) -> Verdict:
    if not truth:
        return Verdict.NO_DIFFERENCE
    return Verdict.WORSE if truth > 0 else Verdict.BETTER


def _number(effect: Effect) -> float:
    return math.nan if effect.smallest is None else effect.smallest


LOADS: tuple[World, ...] = (
    World(),
    World(load="drift"),
    World(load="daily"),
    World(load="bursts"),
    World(load="stalls"),
    World(tail="lognormal"),
    World(tail="pareto"),
)
#: Sizes under a steady load, then the loads.
CASES = (
    *(Case("blocks", pairs, World()) for pairs in (FEW, MANY)),
    *(Case("blocks", SOME, world) for world in LOADS),
    Case("connection", HUNDREDS, World()),
    *(Case("connection", THOUSANDS, world) for world in LOADS),
    *(
        Case("connection", THOUSANDS, world, "p50")
        for world in (LOADS[0], LOADS[3], LOADS[4], LOADS[5])
    ),
    *(
        Case("connection", THOUSANDS, world, "p99")
        for world in (LOADS[0], LOADS[3], LOADS[4], LOADS[5])
    ),
)
CARRIED = tuple(
    Case("blocks", 60, World(ratio, carried=carried))
    for ratio, carried in ((1.0, 0.3), (1.3, 0.1), (1.3, 0.3), (1.3, 0.5), (2.0, 0.3))
)


def looked_at(trials: int) -> Iterator[tuple[str, str, float]]:
    """How often somebody who looks again and again, and stops at a difference, is wrong.

    Yields:
        The values, the interval that is looked at, and how often zero was ever left out.
    """
    draw = np.random.default_rng(1)
    pairs, count = MANY, 10 * trials
    sign = draw.choice([-1.0, 1.0], (count, pairs))
    for name, differences in (
        ("normal", draw.normal(size=(count, pairs))),
        ("Pareto, alpha 1.1, either sign", sign * draw.pareto(1.1, (count, pairs))),
    ):
        sure = evidence(differences, pairs).max(axis=1) >= -math.log(0.05)
        yield name, "confidence sequence", float(sure.mean())
        counts = np.arange(1, pairs + 1)
        means = np.cumsum(differences, axis=1) / counts
        rest = np.cumsum(differences**2, axis=1) / counts - means**2
        errors = np.sqrt(np.maximum(rest, 1e-300) / np.maximum(counts - 1, 1))
        reach = np.array([student.quantile(0.975, max(1, one - 1)) for one in counts.tolist()])
        wrong = (np.abs(means) > reach * errors)[:, BURN_IN:].any(axis=1)
        yield name, "Student's t", float(wrong.mean())


def _ever_shown(seed: int) -> bool:
    """Whether a trial of A against A by connection is ever stopped, with a look every 200."""
    whole = by_connection(World(tail="lognormal"), THOUSANDS, seed)
    for known in range(200, THOUSANDS + 1, 200):
        found = interval_so_far(replace(whole, units=whole.units[:known]), whole.outcomes[0])
        if found is not None and found.excludes_zero:
            return True
    return False


def percent(share: float) -> str:
    """With one digit."""
    return f"{100 * share:.1f} %"


def _cells(case: Case) -> tuple[str, ...]:
    return case.plan, case.summary, case.units, case.world.load, case.world.tail


HEADING = ("plan", "statistic", "units", "load", "values")

BEGIN = """\
# How often is a trial right?

`make trial-statistics` wrote this page on commit {commit} and overwrites it.

`locality trial` says *better*, *worse* or *no difference shown* by an interval of 95 %. For this
page {trials:,} trials of each kind were made up with an effect that is known, and judged as real
ones are (`validation/simulated_trials.py`). Nothing here was measured on a network. With {trials:,}
trials a share of 95 % comes out between {low} and {high} in 95 of 100 cases.

A value of a block is the mean of 50 connections. The load is steady; or it drifts to threefold; or
it goes up and down by a factor of three, twice in the run (*daily*); or it moves by chance with a
memory of about 20 units (*bursts*); or it is thirtyfold for a hundredth of the time, twice
(*stalls*). Values are exponential, lognormal with sigma 2, or Pareto with alpha 2.1, whose variance
barely exists.

[trial-statistics.csv](trial-statistics.csv) has each figure. [How a trial is
judged](../reference/trial-statistics.md) has the method.

## A against A

How often the interval holds zero, as it should. *Doubted*: how often the trial prints a doubt.
*Could show*: the smallest effect that the trial says it could have shown (median).
"""
KNOWN = """\
## A known effect

B's values are A's times a ratio: twice the smallest effect that such a trial can show, or just that
effect. *Found*: the verdict is right. *Opposite*: the verdict has the wrong direction.
"""
CARRY = """\
## What carries over

By blocks, 60 pairs: a part of an arm's effect stays for the next block, as where connections
outlive the wash-out. The effect then looks smaller than it is, and the interval does not hold it.
The effect keeps its direction, and where there is none, the trial shows none. The trial prints the
doubt because of the lifetimes of connections, whatever the values are.
"""
LOOKS = """\
## Looking, and stopping at a difference

A against A, 100 pairs, with a look after each pair from the sixth on. The interval of a run that
is looked at, or that ended early, is a confidence sequence; an interval made for a single look is
wrong far more often. By connection the values are lognormal, with a look every 200 of 4,000
connections.
"""


def page(trials: int, figures: list[dict[str, object]]) -> Iterator[str]:
    """The page; each figure is added to a list."""
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers) as pool:

        def judge(section: str, case: Case) -> Found:
            found = run(case, trials, pool)
            plain = {"plan": case.plan, "statistic": case.summary, "size": case.size}
            figures.append({"section": section, **plain, **asdict(case.world), **asdict(found)})
            return found

        reach = 1.96 * math.sqrt(0.95 * 0.05 / trials)
        low, high = percent(0.95 - reach), percent(0.95 + reach)
        yield BEGIN.format(commit=commit(), trials=trials, low=low, high=high)
        alike = {case: judge("A against A", case) for case in CASES}
        yield from table(
            (*HEADING, "holds zero", "doubted", "could show"),
            (
                (*_cells(case), percent(one.holds), percent(one.doubted), percent(one.smallest))
                for case, one in alike.items()
            ),
        )
        yield KNOWN
        yield from table(
            (*HEADING, "effect", "found", "opposite", "holds it"),
            (
                (
                    *_cells(case),
                    f"{100 * times * alike[case].smallest:+.0f} %",
                    percent(one.right),
                    percent(one.wrong),
                    percent(one.holds),
                )
                for times in (2, 1)
                for case in CASES
                if times == 2 or case.world == World()
                for one in [judge("known", _with_effect(case, times * alike[case].smallest))]
            ),
        )
        yield CARRY
        yield from table(
            ("effect", "carried over", "holds it", "doubted", "found", "opposite"),
            (
                (
                    f"{100 * (case.world.ratio - 1):+.0f} %",
                    percent(case.world.carried),
                    *(percent(share) for share in (one.holds, one.doubted, one.right, one.wrong)),
                )
                for case in CARRIED
                for one in [judge("carried over", case)]
            ),
        )
        yield LOOKS
        stopped = [*looked_at(trials)]
        by_coin = statistics.mean(pool.map(_ever_shown, range(trials), chunksize=20))
        stopped.append(("4,000 connections", "confidence sequence", by_coin))
    for values, interval, wrong in stopped:
        figures.append({"section": f"looks: {values}, {interval}", "wrong": wrong})
    yield from table(
        ("differences", "interval", "ever leaves zero out"),
        ((values, interval, percent(wrong)) for values, interval, wrong in stopped),
    )


def _with_effect(case: Case, effect: float) -> Case:
    return replace(case, world=replace(case.world, ratio=1 + effect))


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write each figure")
    parser.add_argument("--trials", type=int, default=TRIALS, metavar="N", help="of each kind")
    arguments = parser.parse_args()
    figures: list[dict[str, object]] = []
    for line in page(arguments.trials, figures):
        # What has been measured is kept if the rest is not.
        print(line, flush=True)
    if arguments.csv:
        names = [*dict.fromkeys(name for figure in figures for name in figure)]
        with arguments.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(figures)


if __name__ == "__main__":
    main()
