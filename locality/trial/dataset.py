"""What a recording of a trial puts into a data set: its effects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from locality.trial.batch import joined
from locality.trial.effects import effects
from locality.trial.recording import batches_of

if TYPE_CHECKING:
    import pyarrow as pa

    from locality.dataset.facts import Facts
    from locality.recording.format import Meta
    from locality.trial.scale import Scale


class TrialContents:
    """The effect on each outcome of which there is an interval."""

    def __init__(self, meta: Meta, facts: Facts) -> None:
        self._facts, self._meta = facts, meta
        self._batches: list[pa.RecordBatch] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Add a part."""
        self._batches.append(rows)

    def end(self, lost: int, ended: float | None) -> None:  # noqa: ARG002 - as all kinds
        """Judge the trial, now that all of it is there."""
        parts = [batch.part for batch in batches_of(self._batches)]
        if not parts:
            return
        trial = joined(parts)
        began = trial.began or self._meta.started
        for effect in effects(trial):
            interval = effect.interval
            if interval is None:
                continue
            ends = {
                name: _worked(getattr(interval, name), interval.scale)
                for name in ("estimate", "low", "high")
            }
            arms = {"arm_a": trial.design.arms[0], "arm_b": trial.design.arms[1]}
            row = {
                "target": trial.target,
                "outcome": effect.outcome.label,
                "unit": effect.outcome.unit,
                "better": effect.outcome.better,
                "scale": interval.scale,
                "units": interval.units,
                "verdict": effect.verdict.value,
            }
            if all(map(math.isfinite, ends.values())):
                self._facts.effect(began / 1e9, row | arms | ends)


def _worked(shown: float, scale: Scale) -> float:
    """From a share of A's value to the logarithm of a ratio, in which effects are combined."""
    if scale == "difference":
        return shown
    return math.log1p(shown) if shown > -1 else -math.inf
