"""A recording of a trial as DataFrames, and the trial itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from locality.trial.batch import joined
from locality.trial.recording import batches_of
from locality.trial.records import NAMES, effect_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.trial.observation import Trial


@dataclass(frozen=True)
class TrialFrames:
    """What was recorded of a trial.

    Attributes:
        units: One row a connection or block: time (seconds since the beginning), pair, arm (A or
            B), weight, washout, and a column for each outcome. NaN: not known.
        aa_units: The same of the A/A part.
        trial: All of it, for `locality.trial.effects`; None if there is nothing.
    """

    units: pd.DataFrame
    aa_units: pd.DataFrame
    trial: Trial | None

    @cached_property
    def effects(self) -> pd.DataFrame:
        """One row an outcome, with the fields that JSON has."""
        found = effect_records(self.trial) if self.trial else []
        return pd.DataFrame(found, columns=list(NAMES))


def frames(batches: Sequence[pa.RecordBatch], _meta: Meta) -> dict[str, TrialFrames]:
    """``trial``: the frames of a recording.

    Args:
        batches: A part each; none for a recording of another kind.

    Raises:
        LocalityError: A batch is not what a recorder writes.
    """
    parts = [batch.part for batch in batches_of(batches)]
    if not parts:
        return {"trial": TrialFrames(pd.DataFrame(), pd.DataFrame(), None)}
    trial = joined(parts)
    return {"trial": TrialFrames(_frame(trial.units), _frame(trial.aa_units), trial)}


def _frame(units: Array) -> pd.DataFrame:
    frame = pd.DataFrame({name: units[name] for name in units.dtype.names or ()})
    frame["arm"] = pd.Categorical(np.array(["A", "B"])[units["arm"]], categories=["A", "B"])
    return frame
