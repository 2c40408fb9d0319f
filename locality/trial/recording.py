"""Recordings of trials: rows made from a part of one, and the same part from rows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locality.machine import topology
from locality.recording.format import Meta, damaged, schema_of
from locality.recording.intervals import split
from locality.recording.writer import Recorder
from locality.trial.batch import TrialBatch
from locality.trial.columns import (
    AA_PART,
    COLUMNS,
    FACT,
    LEFT_OUT,
    OUTCOME,
    ROWS,
    TRIAL,
    TRIAL_PART,
    VALUE,
)
from locality.trial.observation import PROBE, Design, Outcome, Trial, units_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from locality.arrays import Array
    from locality.recording.reader import Reader

_SCHEMA = schema_of(COLUMNS)
#: The same with words instead of dictionaries of words.
_PLAIN = pa.schema(
    [(one.name, pa.utf8() if pa.types.is_dictionary(one.type) else one.type) for one in _SCHEMA]
)
_WORDS = {
    "kind": {"connection", "blocks"},
    "better": {"lower", "higher"},
    "summary": {"mean", "p50", "p99"},
    "part": {AA_PART, TRIAL_PART},
}
#: Units in a batch, of either part.
MOST_UNITS = 1 << 14
#: The columns of a value that are the same for all outcomes of a unit, by the unit's field.
_OF_UNIT = {
    "time": "seconds",
    "pair": "pair",
    "arm": "arm",
    "weight": "weight",
    "washout": "washout",
}


class TrialRecorder(Recorder):
    """A sink that records the parts of a trial, each on the disk before the next."""

    def write(self, batch: TrialBatch) -> None:
        """Take a part."""
        if not self._open:
            return
        self._lost = batch.part.lost
        for piece in _pieces(batch):
            self._append(rows_of(piece))
            self._count += len(piece)


def _pieces(batch: TrialBatch) -> Iterator[TrialBatch]:
    """A part in pieces that are read one after the other: a million connections are too many."""
    part = batch.part
    most = max(len(part.units), len(part.aa_units))
    for begin in range(0, max(most, 1), MOST_UNITS):
        units, aa_units = (some[begin : begin + MOST_UNITS] for some in (part.units, part.aa_units))
        last = begin + MOST_UNITS >= most
        yield TrialBatch(replace(part, units=units, aa_units=aa_units), batch.ended and last)


def record(trial: Trial, path: Path, *, force: bool = False) -> None:
    """Record a trial that is over.

    Args:
        trial: Of this machine.
        path: The new file, mode 0600.
        force: Replace a file of that name.

    Raises:
        LocalityError: The file exists, or cannot be written.
    """
    with TrialRecorder(path, meta_of(trial), force=force) as recorder:
        recorder.write(TrialBatch(trial))


def meta_of(trial: Trial) -> Meta:
    """The metadata of a recording of a trial of this machine."""
    meta = Meta.here("trial", None, topology.read(), wanted=_text(trial.target))
    latest = max((float(units["time"].max()) for units in (trial.units,) if len(units)), default=0)
    began = trial.began or time.time_ns() - int(latest * 1e9)
    return replace(meta, started=began, rung=_text(trial.facts.get(PROBE, meta.rung)))


def rows_of(batch: TrialBatch) -> pa.RecordBatch:
    """A part as rows of `COLUMNS`: the trial, its outcomes, reasons and facts, and its values."""
    trial = batch.part
    above: list[dict[str, Any]] = [{"row": TRIAL, **_trial_row(trial), "ended": batch.ended}]
    above += [
        {
            "row": OUTCOME,
            "outcome": _text(one.name),
            "unit": _text(one.unit),
            "better": one.better,
            "summary": one.summary,
            "primary": one.primary,
        }
        for one in trial.outcomes
    ]
    above += [
        {"row": LEFT_OUT, "name": _text(reason), "count": count}
        for reason, count in trial.left_out.items()
    ]
    above += [
        {"row": FACT, "name": _text(name), "text": _text(text)}
        for name, text in trial.facts.items()
    ]
    parts = [
        pa.RecordBatch.from_pylist(above, schema=_PLAIN),
        _value_rows(AA_PART, trial.aa_units, trial.outcomes),
        _value_rows(TRIAL_PART, trial.units, trial.outcomes),
    ]
    columns = []
    for field in _SCHEMA:
        whole = pa.concat_arrays([part[field.name] for part in parts])
        columns.append(whole.dictionary_encode() if pa.types.is_dictionary(field.type) else whole)
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _trial_row(trial: Trial) -> dict[str, Any]:
    design = trial.design
    return {
        "kind": design.kind,
        "target": _text(trial.target),
        "arm_a": _text(design.arms[0]),
        "arm_b": _text(design.arms[1]),
        "planned": design.planned,
        "seed": design.seed,
        "block_s": design.block_s,
        "washout_s": design.washout_s,
        "aa": design.aa,
        "lives_s": design.lives_s,
        "began": trial.began,
        "lost": trial.lost,
        "harm": None if trial.harm is None else _text(trial.harm),
        "restored": trial.restored,
        "ended_early": trial.ended_early,
        "kept": None if trial.kept is None else _text(trial.kept),
    }


def _value_rows(part: str, units: Array, outcomes: tuple[Outcome, ...]) -> pa.RecordBatch:
    """A row for each unit and outcome; the outcomes of a unit stand together."""
    each, count = len(outcomes), len(units) * len(outcomes)
    filled: dict[str, pa.Array] = {
        "row": _words([VALUE], np.zeros(count, np.int32)),
        "part": _words([part], np.zeros(count, np.int32)),
        "outcome": _words(
            [_text(one.label) for one in outcomes],
            np.tile(np.arange(each, dtype=np.int32), len(units)),
        ),
    }
    for field, column in _OF_UNIT.items():
        filled[column] = pa.array(np.repeat(units[field], each))
    values = np.array([units[one.label] for one in outcomes], np.float64).T.ravel()
    filled["value"] = pa.array(values, mask=~np.isfinite(values))
    columns = [filled.get(one.name, pa.nulls(count, one.type)) for one in _PLAIN]
    return pa.RecordBatch.from_arrays(columns, schema=_PLAIN)


def _words(words: list[str], places: Array) -> pa.Array:
    """Words by their places in a list."""
    return pa.DictionaryArray.from_arrays(pa.array(places), pa.array(words)).cast(pa.utf8())


def rows_by_kind(rows: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
    """A batch as the rows of each kind, with the columns they have.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    parts = split(rows, COLUMNS, ROWS, _WORDS)
    if len(parts[TRIAL]) != 1 or not len(parts[OUTCOME]):
        raise damaged("a trial has no plan")
    labels = [one.label for one in _outcomes(parts)]
    told = parts[VALUE]["outcome"].cast(pa.utf8())
    places = pc.index_in(told, value_set=pa.array(labels)).fill_null(-1).to_numpy()
    if (
        len(places) % len(labels)
        or (places != np.resize(np.arange(len(labels)), places.shape)).any()
    ):
        raise damaged("a unit has not one value for each outcome")
    return parts


def batch_of(parts: Mapping[str, pa.RecordBatch]) -> TrialBatch:
    """The part of a trial behind a batch of a recording.

    Args:
        parts: The batch as `rows_by_kind` gives it.
    """
    (said,) = parts[TRIAL].to_pylist()
    outcomes = _outcomes(parts)
    design = Design(
        kind=said["kind"],
        arms=(said["arm_a"], said["arm_b"]),
        **{name: said[name] for name in ("planned", "seed", "block_s", "washout_s", "aa")},
        lives_s=said["lives_s"],
    )
    names = ("target", "began", "lost", "harm", "restored", "ended_early", "kept")
    left_out, facts = parts[LEFT_OUT].to_pylist(), parts[FACT].to_pylist()
    trial = Trial(
        design,
        outcomes,
        units=_units(parts[VALUE], outcomes, TRIAL_PART),
        aa_units=_units(parts[VALUE], outcomes, AA_PART),
        left_out={one["name"]: one["count"] for one in left_out},
        facts={one["name"]: one["text"] for one in facts},
        **{name: said[name] for name in names},
    )
    return TrialBatch(trial, said["ended"])


def batches_of(batches: Iterable[pa.RecordBatch]) -> Iterator[TrialBatch]:
    """The parts of one trial; one that was cut gets an end, as a trial that ended early.

    Raises:
        LocalityError: A batch is not what a recorder writes, or of another trial.
    """
    batch = None
    outcomes: tuple[Outcome, ...] | None = None
    for rows in batches:
        batch = batch_of(rows_by_kind(rows))
        if outcomes not in {None, batch.part.outcomes}:
            raise damaged("a part is of another trial")
        outcomes = batch.part.outcomes
        yield batch
    if batch is not None and not batch.ended:
        none = batch.part.units[:0]
        cut = replace(batch.part, units=none, aa_units=none, ended_early=True, restored=None)
        yield TrialBatch(cut)


def timed_parts(reader: Reader, _speed: float = 0) -> Iterator[tuple[float, TrialBatch]]:
    """The parts of a recorded trial, all at once: nothing is shown of one before its end."""
    for batch in batches_of(reader):
        yield 0.0, batch


def _outcomes(parts: Mapping[str, pa.RecordBatch]) -> tuple[Outcome, ...]:
    try:
        outcomes = tuple(
            Outcome(
                one["outcome"], one["unit"], one["better"], one["summary"], primary=one["primary"]
            )
            for one in parts[OUTCOME].to_pylist()
        )
        units_dtype(outcomes)
    except ValueError:
        raise damaged("two outcomes have one name, or one has none") from None
    return outcomes


def _units(values: pa.RecordBatch, outcomes: tuple[Outcome, ...], part: str) -> Array:
    """The units of a part; values of one unit stand together, in the order of the outcomes."""
    of_part = values.filter(pc.equal(values["part"].cast(pa.utf8()), part))
    each = len(outcomes)
    units = np.zeros(len(of_part) // each, units_dtype(outcomes))
    for field, column in _OF_UNIT.items():
        units[field] = of_part[column].to_numpy(zero_copy_only=False)[::each]
    known = of_part["value"].fill_null(np.nan).to_numpy(zero_copy_only=False)
    for place, outcome in enumerate(outcomes):
        units[outcome.label] = known[place::each]
    return units


def _text(text: str) -> str:
    """A text from outside, such as a command with bytes that are no text, as UTF-8 has it."""
    return text.encode("utf-8", "backslashreplace").decode()
