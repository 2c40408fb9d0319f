"""What `locality cost` says before it measures: what it costs itself, and what it cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.cost.pmu import has_pmu

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Measured by benchmarks/cost.py; docs/guides/cost.md has the figures and where they are from.
STAMPING = (
    "while this runs, the kernel stamps every received packet of the machine, which took 40 ns a "
    "packet where it was measured (docs/guides/cost.md)"
)
NO_PMU = "no PMU here: cycles and cache misses a read are not known"
PMU = "cycles and cache misses a read are not counted: use perf stat"


def notes() -> Iterator[str]:
    """Lines for the user of this machine."""
    yield STAMPING
    yield PMU if has_pmu() else NO_PMU
