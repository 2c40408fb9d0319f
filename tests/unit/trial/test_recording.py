"""Recordings of trials: what was seen comes back, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg

import locality
from locality.cli import cli
from locality.errors import LocalityError
from locality.recording.reader import Reader
from locality.report import write_report
from locality.trial.batch import TrialBatch, joined
from locality.trial.effects import effects
from locality.trial.figures import effects as effects_figure
from locality.trial.observation import PROBE, UNITS, Design, Outcome, Trial, units_dtype
from locality.trial.recording import (
    MOST_UNITS,
    TrialRecorder,
    batches_of,
    record,
    rows_of,
    timed_parts,
)
from tests.unit.recordings import meta
from tests.unit.trial.made_up import blocks
from validation.simulated_trials import World, by_blocks, by_connection

if TYPE_CHECKING:
    from pathlib import Path


def whole() -> Trial:
    """A trial in which everything is said that there is to say."""
    made = by_blocks(World(0.7), 30, 1, aa_pairs=12)
    units = made.units.copy()
    units["queue_wait"][3] = np.nan
    return replace(
        made,
        units=units,
        left_out={"too late": 3, "no arm": 1},
        lost=7,
        target="port 8080",
        facts={"host": "lab", "metric": "curl \udcff"},
        harm="overflows",
        restored=True,
        ended_early=True,
        kept="map",
        began=1_790_000_000_123_456_789,
    )


def same(one: Trial, other: Trial) -> bool:
    nothing = np.zeros(0, units_dtype(one.outcomes))
    bare = [replace(made, units=nothing, aa_units=nothing) for made in (one, other)]
    plain = [replace(made, facts={}) for made in bare]
    equal = [
        np.array_equal(one.units[name], other.units[name], equal_nan=True)
        and np.array_equal(one.aa_units[name], other.aa_units[name], equal_nan=True)
        for name in one.units.dtype.names or ()
    ]
    return repr(plain[0]) == repr(plain[1]) and all(equal)


# Bugs: a value that is not known comes back as a number; the A/A part comes back as the trial; a
# part is read twice.
def test_a_trial_comes_back_as_it_was(tmp_path: Path) -> None:
    made, path = whole(), tmp_path / "trial.arrows"
    record(made, path)
    recording = locality.load(path)
    found = recording.trial
    assert same(found.trial, made)
    assert found.trial.facts == {"host": "lab", "metric": "curl \\udcff"}
    assert (recording.meta.started, recording.lost) == (made.began, 7)
    assert recording.meta.filter == "port 8080"
    assert [len(found.units), len(found.aa_units), len(found.effects)] == [60, 24, 1]
    assert int((found.units["arm"] == "A").sum()) == 30
    assert found.effects["verdict"][0] == "better"
    with pytest.raises(LocalityError, match="exists"):
        record(made, path)


# Bug: a recording of a trial says that it had no rung, though the trial said which.
def test_the_probe_of_a_trial_is_recorded(tmp_path: Path) -> None:
    made = replace(whole(), facts={PROBE: "tracepoint"})
    record(made, tmp_path / "x")
    record(whole(), tmp_path / "unknown")
    assert locality.load(tmp_path / "x").meta.rung == "tracepoint"
    assert locality.load(tmp_path / "unknown").meta.rung == "none"


# Bug: a trial without units, or by connection, comes back as another one.
@pytest.mark.parametrize("count", [0, 1, 400])
def test_connections_come_back(tmp_path: Path, count: int) -> None:
    made = by_connection(World(), count, 1, aa=count)
    record(made, tmp_path / "x")
    assert same(locality.load(tmp_path / "x").trial.trial, made)


# Bug: a trial of many connections is one batch, of gigabytes; a piece is left out or comes twice.
def test_a_large_trial_is_recorded_in_pieces(tmp_path: Path) -> None:
    made = by_connection(World(), 2 * MOST_UNITS + 1, 1, aa=10)
    record(made, tmp_path / "x")
    recording = locality.load(tmp_path / "x")
    assert same(recording.trial.trial, made)
    with Reader(tmp_path / "x") as reader:
        assert max(len(rows) for rows in reader) < MOST_UNITS + 20
        assert reader.batches == 3


def in_parts(path: Path, made: Trial, *, ended: bool) -> Path:
    with TrialRecorder(path, meta("trial")) as recorder:
        for begin in range(0, len(made.units), 20):
            part = replace(
                made,
                units=made.units[begin : begin + 20],
                aa_units=made.aa_units if not begin else made.aa_units[:0],
            )
            recorder.write(TrialBatch(part, ended=ended and begin + 20 >= len(made.units)))
    return path


# Bug: a recording that was cut by kill -9 is replayed as a trial that ran to its end.
def test_a_trial_that_was_cut_ended_early(tmp_path: Path) -> None:
    made = replace(whole(), ended_early=False)
    for ended in (True, False):
        with Reader(in_parts(tmp_path / f"{ended}", made, ended=ended)) as reader:
            parts = [batch for _, batch in timed_parts(reader)]
        assert [part.ended for part in parts].count(True) == 1
        assert parts[-1].ended
        found = joined([part.part for part in parts])
        expected = made if ended else replace(made, ended_early=True, restored=None)
        assert same(found, expected)


def rewritten(column: str, value: object, place: int = -1) -> pa.RecordBatch:
    """The rows of a trial with another value."""
    rows = rows_of(TrialBatch(whole()))
    values = rows[column].to_pylist()
    values[place] = value
    at = rows.schema.get_field_index(column)
    field = rows.schema.field(at)
    array = pa.array(values, field.type.value_type if column_is_text(field) else field.type)
    return rows.set_column(at, field, array.dictionary_encode() if column_is_text(field) else array)


def column_is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_dictionary(field.type))


# Bugs: a traceback, or a trial of something else, from a file that no recorder wrote.
@pytest.mark.parametrize(
    ("column", "value", "place"),
    [
        ("row", "neither", -1),
        ("row", "fact", 0),
        ("kind", "coin", 0),
        ("planned", None, 0),
        ("better", "faster", 1),
        ("summary", "p999", 1),
        ("outcome", "", 1),
        ("outcome", "pair", 1),
        ("outcome", "drops", -1),
        ("part", "bb", -1),
        ("arm", None, -1),
        ("seconds", None, -1),
        ("row", "outcome", -1),
    ],
)
def test_a_damaged_recording_is_refused(column: str, value: object, place: int) -> None:
    with pytest.raises(LocalityError, match="damaged"):
        list(batches_of([rewritten(column, value, place)]))


# Bug: an arm of no name, or an infinity, of a file that no recorder wrote is judged.
@pytest.mark.parametrize(
    ("column", "value", "place"),
    [("arm", 2, -1), ("value", np.inf, -1), ("pair", -2, -1), ("planned", -1, 0), ("lost", -1, 0)],
)
def test_a_number_that_cannot_be_is_refused(
    tmp_path: Path, column: str, value: object, place: int
) -> None:
    class Damaging(TrialRecorder):
        def write(self, batch: TrialBatch) -> None:
            del batch
            self._append(rewritten(column, value, place))

    with Damaging(tmp_path / "x", meta("trial")) as recorder:
        recorder.write(TrialBatch(whole()))
    with pytest.raises(LocalityError, match="damaged"):
        locality.load(tmp_path / "x")


# Bug: parts of two trials are put together and judged as one.
def test_parts_of_two_trials_are_no_trial() -> None:
    made = whole()
    other = by_connection(World(), 10, 1)
    more = Outcome("drops", "1/s")
    units = np.zeros(2, units_dtype((more,)))
    parts = [made, replace(other, outcomes=(more,), units=units, aa_units=units)]
    with pytest.raises(LocalityError, match="another trial"):
        list(batches_of([rows_of(TrialBatch(part, ended=False)) for part in parts]))


# Bugs: a section is missing; figures of trials without an interval end in a traceback.
def test_the_report(tmp_path: Path) -> None:
    record(whole(), tmp_path / "a.arrows")
    record(by_connection(World(1.3), 2000, 1, aa=500, summary="p50"), tmp_path / "b.arrows")
    record(by_connection(World(), 10, 1), tmp_path / "c.arrows")
    paths = [tmp_path / f"{name}.arrows" for name in "abc"]
    write_report(paths, tmp_path / "page.md", format="md", figures=tmp_path / "figures")
    page = (tmp_path / "page.md").read_text()
    assert "a trial of map against hash, 60 blocks; queue\\_wait: better" in page
    assert "queue\\_wait p50: worse" in page
    assert "A against A" in page
    assert "the guard against harm ended the trial: overflows" in page
    assert "left out: 3 (too late)" in page
    assert "connections are too few" in page
    drawn = sorted(path.name for path in (tmp_path / "figures").glob("*.svg"))
    assert [name.split("-", 1)[1] for name in drawn] == [
        *("trial-effects.svg", "trial-over-time.svg") * 2,
        "trial-effects.svg",
    ]
    write_report(paths, tmp_path / "page.html")
    assert "<figure" in (tmp_path / "page.html").read_text()


# Bugs: the names beside the axes begin left of the picture; the numbers below an axis are covered
# by the next one.
def test_the_names_of_outcomes_are_in_the_picture() -> None:
    outcomes = (
        *(Outcome("receipt_to_read", "us", summary="p99"), Outcome("retransmits", "count")),
        Outcome("M" * 60, "W"),
    )
    units = np.zeros(80, units_dtype(outcomes))
    of_one = blocks([(1.0, 1.0)] * 40)
    draw = np.random.default_rng(1)
    for field, _ in UNITS:
        units[field] = of_one[field]
    for outcome in outcomes:
        units[outcome.label] = draw.lognormal(0, 0.1, 80)
    units["retransmits"] = draw.integers(0, 3, 80)
    design = Design("blocks", ("as it is", "attach"), 80, 1)
    figure = effects_figure(effects(Trial(design, outcomes, units, units)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    above, below = figure.axes
    for label in (*above.get_yticklabels(), *below.get_yticklabels()):
        assert label.get_text()
        assert label.get_window_extent(renderer).x0 >= 0
    lowest = min(number.get_window_extent(renderer).y0 for number in above.get_xticklabels())
    assert lowest > below.get_window_extent(renderer).y1


# Bug: `--live` or JSON of a replay needs a source that a trial does not have.
def test_replay_and_info(tmp_path: Path) -> None:
    record(whole(), tmp_path / "a.arrows")
    path = str(tmp_path / "a.arrows")
    found = CliRunner().invoke(cli, ["replay", path, "--json"])
    assert found.exit_code == 0
    assert json.loads(found.stdout)["effects"][0]["verdict"] == "better"
    found = CliRunner().invoke(cli, ["replay", path])
    assert "95 % interval" in found.stdout
    found = CliRunner().invoke(cli, ["info", path])
    assert "parts of a trial" in found.stdout
