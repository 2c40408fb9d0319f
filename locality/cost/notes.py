"""What `locality cost` says before it measures: what it costs itself, and what it cannot tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.cost.source import CostSource

#: Measured by benchmarks/cost.py; docs/guides/cost.md has the figures and where they are from.
STAMPING = (
    "while this runs, the kernel stamps every received packet of the machine, which took 90 ns a "
    "packet where it was measured (docs/guides/cost.md)"
)


def notes(source: CostSource) -> Iterator[str]:
    """Lines for the user of this machine."""
    yield STAMPING
    if source.no_pmu:
        yield source.no_pmu
