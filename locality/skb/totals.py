"""The totals of one direction over the intervals of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.reporting.over_time import OverTime
from locality.reporting.statistics import Series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array


@dataclass(frozen=True)
class Totals:
    """The totals of one direction, interval by interval, in the order of time.

    Attributes:
        time: (intervals,) the end of each, UTC, ns.
        seconds: (intervals,) its length.
        figures: By name of `locality.skb.columns.COLUMNS`: (intervals,) packets, 0 where not seen.
        unseen: The figures that were not seen in some interval.
    """

    time: Array
    seconds: Array
    figures: Mapping[str, Array]
    unseen: frozenset[str]

    def sum(self, name: str) -> int | None:
        """Of a figure over all intervals; None if it was not seen in one of them."""
        return None if name in self.unseen else int(self.figures[name].sum())

    def over_time(self, part: str = "local") -> OverTime:
        """Packets, and a part of them, interval by interval.

        Args:
            part: ``local`` of all whose consume CPU is known, ``freed_local`` of all packets,
                or ``delivered_local`` of those that a reader took.
        """
        first = self.time[0] / 1e9 - self.seconds[0] if len(self.time) else 0.0
        packets = self.figures["packets"]
        whole = {
            "local": packets - self.figures["unknown"],
            "freed_local": packets,
            "delivered_local": self.figures["delivered"],
        }[part]
        needed = {part, "delivered"} if part == "delivered_local" else {part}
        unseen = not len(self.time) or needed & self.unseen
        series = None if unseen else Series(self.figures[part], whole)
        return OverTime(self.time / 1e9 - first - self.seconds / 2, self.seconds, packets, series)

    def share(self, part: str = "local") -> float | None:
        """Percent of a part over all intervals; None where not seen, or of nothing."""
        series = self.over_time(part).series
        return None if series is None else series.share


def in_order(
    time: Array, seconds: Array, figures: Mapping[str, Array], unseen: frozenset[str]
) -> Totals:
    """Totals of intervals in whatever order."""
    order = np.argsort(time, kind="stable")
    sorted_figures = {name: values[order] for name, values in figures.items()}
    return Totals(time[order], seconds[order], sorted_figures, unseen)
