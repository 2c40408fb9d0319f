"""The scale of an effect: a share of A's value where values are above zero, else a difference.

A relative effect is worked out on logarithms: the logarithm of a ratio is the difference of two
logarithms, and its distribution is far more even than that of the ratio. What is worked out there
is given to people as a share, 0.1 for 10 % more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from locality.arrays import Array

Scale = Literal["relative", "difference"]


#: No value of a trial is larger; the squares of larger ones would be infinite.
MOST = 1e100


def known(values: Array) -> Array:
    """Which values are known: neither NaN nor beyond all measure, as a user's command may print."""
    return np.asarray(np.abs(values) < MOST)


def of_blocks(values: Array) -> Scale:
    """The scale for values of blocks: relative if all of them are above zero."""
    return "relative" if len(values) and bool((values > 0).all()) else "difference"


def of_connections(values: Array) -> Scale:
    """The scale for values of connections.

    Relative if none is negative and more than half are above zero: the ratio of two small counts,
    such as retransmits, says nothing.
    """
    if not len(values) or bool((values < 0).any()):
        return "difference"
    return "relative" if float(np.median(values)) > 0 else "difference"


def contrast(a: Array | float, b: Array | float, scale: Scale) -> Array:
    """B against A, as it is worked out; NaN where there is no ratio."""
    if scale == "difference":
        return np.asarray(np.subtract(b, a))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.log(b) - np.log(a)
    return np.where(np.isfinite(found), found, np.nan)


def shown(contrast: float, scale: Scale) -> float:
    """What was worked out, as it is given to people."""
    return math.expm1(min(contrast, 700.0)) if scale == "relative" else contrast
