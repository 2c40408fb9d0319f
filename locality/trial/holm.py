"""Several outcomes of one trial: which differences remain after a correction for their number."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.trial.effects import Effect

#: A corrected p below this leaves a difference.
LEVEL = 0.05


def holm(found: Sequence[Effect]) -> list[float | None]:
    """The p of each effect, corrected for how many were looked at.

    After Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979): with no effect at all, one of all is below 5 % in 5 of 100 trials.
    """
    known = sorted((effect.p, place) for place, effect in enumerate(found) if effect.p is not None)
    corrected: list[float | None] = [None] * len(found)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        corrected[place] = highest
    return corrected


def after_holm(found: Sequence[Effect]) -> list[bool | None]:
    """Whether the difference in each outcome remains after the correction.

    The verdict is by the interval. A small p alone decides nothing where the interval holds zero;
    a warning of that effect says so. None where nothing is known.
    """
    return [
        None if p is None else p < LEVEL and effect.decided
        for effect, p in zip(found, holm(found), strict=True)
    ]


def with_small_p(found: Sequence[Effect]) -> Iterator[Effect]:
    """The effects; with a warning where the test and the interval disagree."""
    for effect, p in zip(found, holm(found), strict=True):
        if p is None or p >= LEVEL or effect.decided:
            yield effect
            continue
        corrected = " after Holm's correction" if len(found) > 1 else ""
        said = (
            f"p is small ({p:.2g}{corrected}), but the interval holds zero: nothing is decided, a "
            "longer trial may tell"
        )
        yield replace(effect, warnings=(*effect.warnings, said))
