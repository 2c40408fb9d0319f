"""What puts the figures of a trial in doubt: looked for in the units, said in a sentence each.

By blocks, the order of the arms is random, so that what one block leaves behind for the next can be
told from what it does itself: the second block of a pair always follows the other arm, the first
follows either. With s = 1 where B comes second and -1 where it comes first, the second block less
the first is

    own * s - carried over * (s + s of the pair before) / 2 + order

and the effect of B for ever would be own + carried over. What carries over is well seen only where
it is large; so the lifetimes of connections are asked first. It makes an effect look smaller than
it is, and does not turn it round (Bojinov, Simchi-Levi and Zhao 2023; Senn, Cross-over trials in
clinical research, 2002, on pairs).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from locality.text import counted
from locality.trial import clustered, paired, student
from locality.trial import scale as scales
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.arrays import Array
    from locality.trial.effects import Interval
    from locality.trial.observation import Design, Outcome, Trial
    from locality.trial.paired import Pairs

#: A doubt is spoken of if chance alone gives rise to it less often than this.
RARE = 0.005
#: The normal deviates that are exceeded so rarely, and of a coin that decides all the rest.
_DEVIATE, _QUITE_RARE = 2.81, 3.9
#: Fewer pairs than this cannot be asked so many questions.
_FEWEST = 10
#: A mean hangs on a few connections if so small a part of them has so much of its variance.
_FEW, _MUCH = 0.001, 0.5
#: Of lost connections, this part of all moves no figure: a p99 rests on ten times as many.
_NOTHING = 0.001


def of_pairs(pairs: Pairs, design: Design) -> Iterator[str]:
    """Doubts about the differences of pairs of blocks.

    Args:
        pairs: Of one outcome.
        design: Names the wash-out.
    """
    count = len(pairs.values)
    if count < _FEWEST or not pairs.values.std():
        return
    sign = np.where(pairs.first == A, 1.0, -1.0)
    before = np.concatenate([[0.0], sign[:-1]])
    # Where a pair is missing, the one before it is not known.
    before[1:][np.diff(pairs.number) != 1] = 0.0
    columns = np.column_stack([sign, before, np.ones(count)])
    (now, left, _), (_, carried, order) = _fit(columns, pairs.values * sign)
    if carried < RARE:
        for_ever = scales.shown(now - 3 * left, pairs.scale)
        much = f"{100 * for_ever:+.0f} %" if pairs.scale == "relative" else f"{for_ever:+.3g}"
        yield (
            f"what a block leaves behind changes the next one (p = {carried:.2g}): the wash-out of "
            f"{design.washout_s:g} s is too short, and for ever the effect may be about {much}"
        )
    if order < RARE:
        yield (
            f"the second block of a pair differs from the first whatever the arm (p = {order:.2g}):"
            " the random order keeps this out of the effect"
        )
    trend = np.column_stack([np.ones(count), pairs.number - pairs.number.mean()])
    if (slope := _fit(trend, pairs.values)[1][1]) < RARE:
        yield f"the effect changed during the run (p = {slope:.2g}): it is an average over the run"
    values = pairs.values - pairs.values.mean()
    together = float(values[1:] @ values[:-1] / (values @ values))
    if abs(together) * math.sqrt(count) > _DEVIATE:
        yield (
            f"neighbouring pairs are alike (correlation {together:.2f}): the interval takes "
            "blocks of pairs, a longer run would be safer"
        )


def of_connections(units: Array, label: str, summary: str) -> Iterator[str]:
    """Doubts about the connections of both arms.

    Args:
        units: (connections,) of both arms.
        label: The outcome's field.
        summary: Its statistic.
    """
    known = scales.known(units[label])
    totals = [int((units["arm"] == arm).sum()) for arm in (A, B)]
    kept = [int(known[units["arm"] == arm].sum()) for arm in (A, B)]
    if min(totals) and _unlike(kept[A] / totals[A], kept[B] / totals[B], *totals):
        shares = " and ".join(
            f"{100 * part / all_:.1f} %" for part, all_ in zip(kept, totals, strict=True)
        )
        yield (
            f"it is known of {shares} of the connections of A and B: those without it are not "
            "left out by chance"
        )
    if summary == "mean" and min(kept) > 1:
        spread = np.concatenate(
            [(arm := units[label][known & (units["arm"] == one)]) - arm.mean() for one in (A, B)]
        )
        squares = np.sort(spread * spread)[::-1]
        few = max(1, int(_FEW * len(squares)))
        total = float(squares.sum())
        if total and float(squares[:few].sum()) > _MUCH * total:
            yield (
                f"the means hang on {few} of {len(squares)} connections: a median says more"
                if few > 1
                else f"the means hang on a single one of {len(squares)} connections: a median says "
                "more"
            )


def of_outcome(
    trial: Trial, outcome: Outcome, interval: Interval | None, aa: Interval | None
) -> Iterator[str]:
    """Doubts about an outcome that do not depend on what is randomised.

    Args:
        trial: Which.
        outcome: Of the trial's.
        interval: Of the effect; None where there is too little to tell.
        aa: Of the A/A part; None where there is none.
    """
    if interval is None:
        values = trial.units[outcome.label]
        values = values[scales.known(values)]
        early = " after a run that ended early" if trial.ended_early else ""
        if len(values) and not values.any():
            yield f"all {len(values)} values are 0" if len(values) > 1 else "the only value is 0"
        elif trial.design.kind == "connection" and len(trial.units) and not len(values):
            yield f"no connection has a value{early}"
        elif trial.design.kind == "blocks":
            pairs = paired.pairs_of(trial.units, outcome.label).values
            if len(pairs) >= paired.FEWEST_PAIRS and not pairs.any():
                yield f"A and B have the same value in each of {len(pairs)} pairs"
            else:
                are_few = "pair of blocks is" if len(pairs) == 1 else "pairs of blocks are"
                yield f"{len(pairs)} {are_few} too few{early}"
        else:
            fewest = clustered.fewest(outcome.summary)
            needed = "" if early else f", each arm needs {fewest} at least"
            is_few = "connection is" if len(values) == 1 else "connections are"
            yield f"{len(values)} {is_few} too few{early}{needed}"
    if aa is not None and aa.excludes_zero:
        yield (
            "A against A shows a difference too: by chance, as in one of twenty, or what B does is "
            "not the only cause"
        )


def of_trial(trial: Trial) -> Iterator[str]:
    """Doubts about a trial as a whole."""
    design = trial.design
    if design.kind == "blocks" and design.lives_s is None:
        yield (
            "it is not known how long connections live: if longer than the wash-out of "
            f"{design.washout_s:g} s, effects look smaller than they are"
        )
    elif (
        design.kind == "blocks"
        and design.lives_s is not None
        and (design.lives_s > design.washout_s)
    ):
        yield (
            f"some connections live {design.lives_s:.3g} s, longer than the wash-out of "
            f"{design.washout_s:g} s: they carry one arm into the other, and effects look smaller "
            "than they are"
        )
    if design.kind == "connection":
        count, b = len(trial.units), int((trial.units["arm"] == B).sum())
        if count and abs(2 * b - count) / math.sqrt(count) > _QUITE_RARE:
            yield (
                f"{count - b} connections in A and {b} in B are not what a fair coin gives: "
                "connections of one arm are lost"
            )


def doubts_of_lost(trial: Trial) -> Iterator[str]:
    """What lost events may do to the result; nothing where there are too few of them."""
    if not trial.lost:
        return
    share = ""
    if trial.design.kind == "connection":
        part = trial.lost / (trial.lost + len(trial.units))
        if part <= _NOTHING:
            return
        share = f", up to {100 * part:.2g} % of the connections"
    yield (
        f"{counted(trial.lost, 'event')} lost{share}: they are in neither arm. Events are lost "
        "when many come at once, so true waits may be longer than those shown, above all their p99"
    )


def lost_text(trial: Trial) -> str:
    """How many events were lost, and whether the result is affected."""
    doubt = next(doubts_of_lost(trial), "")
    few = "; too few to affect the result" if trial.lost else ""
    return f"! {doubt}" if doubt else f"{counted(trial.lost, 'event')} lost{few}"


def _unlike(one: float, other: float, of_one: int, of_other: int) -> bool:
    """Whether two shares differ by more than chance."""
    share = (one * of_one + other * of_other) / (of_one + of_other)
    error = math.sqrt(share * (1 - share) * (1 / of_one + 1 / of_other))
    return error > 0 and abs(one - other) / error > _DEVIATE


def _fit(columns: Array, values: Array) -> tuple[list[float], list[float]]:
    """The coefficients of a least-squares fit, and the p of each."""
    freedom = len(values) - columns.shape[1]
    inverse = np.linalg.pinv(columns.T @ columns)
    found = inverse @ columns.T @ values
    rest = values - columns @ found
    errors = np.sqrt(np.maximum(np.diag(inverse) * float(rest @ rest) / freedom, 0))
    p = [
        student.p_value(float(one / error), freedom) if error > 0 else 1.0
        for one, error in zip(found, errors, strict=True)
    ]
    return found.tolist(), p
