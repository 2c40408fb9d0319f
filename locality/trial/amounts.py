"""Effects of a trial as people read them: with a percent sign or the unit of the outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locality.trial.scale import Scale

#: From so many percent on no digit follows the point, and from the second on there is an exponent.
_ROUND, _EXPONENT = 1000, 10_000_000


def amount(value: float, scale: Scale, unit: str) -> str:
    """An effect without its sign: ``3.1%``, or with the outcome's unit."""
    if scale == "relative":
        return f"{percent_of(value)}%"
    return f"{value:.3g} {unit}".rstrip()


def percent_of(share: float, sign: str = "") -> str:
    """Percent of a share, without the percent sign: ``3.1``, ``1,130``.

    Args:
        share: 0.1 is 10 %.
        sign: ``+``: a plus stands before what is above zero.
    """
    percent = 100 * share
    if abs(percent) < _ROUND:
        return f"{percent:{sign}.1f}"
    return f"{percent:{sign},.0f}" if abs(percent) < _EXPONENT else f"{percent:{sign}.3g}"
