"""A trial for people and for programs: text, JSON, CSV, dashboard."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from locality.dashboard.screen import Header
from locality.text import WIDTH
from locality.trial.amounts import amount
from locality.trial.batch import TrialBatch, TrialSummary
from locality.trial.dashboard import TrialDashboard
from locality.trial.effects import effects
from locality.trial.observation import Outcome, Trial, units_dtype
from locality.trial.records import NAMES, CsvTrial, JsonTrial, trial_record
from locality.trial.text import TextTrial, lines, number, summary_lines
from tests.unit.recordings import META
from tests.unit.trial.made_up import SPEED, WAIT, blocks, connections, trial

MACHINE = META.machine
NOISE = np.random.default_rng(1).lognormal(0, 0.1, (3, 40))
HALVED = blocks([(100 * one, 50 * other) for one, other in zip(NOISE[0], NOISE[1], strict=True)])
ALIKE = blocks([(100 * one, 100 * other) for one, other in zip(NOISE[1], NOISE[2], strict=True)])
BETTER = replace(
    trial(HALVED, aa_units=ALIKE), target="port 8080", left_out={"too late": 3}, lost=2
)


def text(made: Trial) -> str:
    return "\n".join(lines(made))


def several() -> Trial:
    """Three outcomes: one decided, one not, one of which nothing is known."""
    outcomes = (WAIT, replace(SPEED, primary=False), Outcome("drops", "1/s"))
    units = np.zeros(len(HALVED), units_dtype(outcomes))
    for name in HALVED.dtype.names or ():
        units[name] = HALVED[name]
    units["requests"] = ALIKE[WAIT.label]
    return Trial(BETTER.design, outcomes, units, units[:0], restored=True)


# Bugs: the effect's sign or its unit is wrong; what was left out, lost or looked at is not told.
def test_the_text_says_what_was_found_and_what_was_not() -> None:
    said = text(BETTER)
    (effect,) = effects(BETTER)
    assert effect.relative is not None
    assert f"{100 * effect.relative:+.1f}%" in said
    assert "queue_wait: B (attach) is better than A (as it is)" in said
    assert "% less." in said
    assert "used: 40 blocks of A, 40 of B; A against A: 80" in said
    assert "left out: 3 (too late)" in said
    assert "2 events lost" in said
    assert "Everything is as it was before." in said
    none = text(trial(ALIKE))
    assert "no difference shown (less than " in none
    assert "this run could have shown " in none
    assert "No outcome shows a difference" in none
    assert "There is no A/A part" in none


# Bug: one of many outcomes differs by chance, and is told as if it were the only one.
def test_several_outcomes_are_counted() -> None:
    said = " ".join(text(several()).split())
    assert "3 outcomes were looked at" in said
    assert "The trial was made to decide queue_wait (*)." in said
    assert (
        "After Holm's correction for the 2 of which something is known, a difference remains in: "
        "queue_wait."
    ) in said
    assert "all 80 values are 0" in said


# Bugs: an outcome whose interval holds zero is among those that differ after the correction, in
# one of the formats; a correction for 0 outcomes.
def test_the_verdict_is_the_same_everywhere() -> None:
    outcomes = (WAIT, replace(SPEED, primary=False))
    units = np.zeros(24, units_dtype(outcomes))
    of_wait = blocks([(100 * one, 50 * other) for one, other in NOISE[:2, :12].T])
    for name in of_wait.dtype.names or ():
        units[name] = of_wait[name]
    units["requests"] = np.where(units["arm"] == 0, 100.0, 110.0 + units["pair"])
    # One pair has a hundred times as much: the interval becomes wide, and p stays small.
    units["requests"][(units["arm"] == 1) & (units["pair"] == 11)] = 10_000
    made = Trial(BETTER.design, outcomes, units, units[:0], restored=True)
    small = "but the interval holds zero: nothing is decided"
    said = " ".join(text(made).split())
    assert "a difference remains in: queue_wait. " in said
    assert small in said
    records = trial_record(made)["effects"]
    assert [one["remains"] for one in records] == [True, False]
    assert records[1]["p_holm"] < 0.05
    assert small in records[1]["warnings"][-1]
    assert not any(small in warning for warning in records[0]["warnings"])
    none = " ".join(text(replace(made, units=units[:4])).split())
    assert "Of none of them enough is known, so nothing is decided." in none
    assert "Holm" not in none


# Bug: lost events are told, and not whether the result is affected.
def test_lost_events_are_judged() -> None:
    few = replace(trial(connections([1.0] * 5000, [2.0] * 5000)), lost=1)
    assert "1 event lost; too few to affect the result" in text(few)
    assert trial_record(few)["warnings"] == []
    many = " ".join(text(replace(few, lost=109)).split())
    assert "! 109 events lost, up to 1.1 % of the connections: they are in neither arm." in many
    (warning,) = trial_record(replace(few, lost=109))["warnings"]
    assert warning.startswith("109 events lost")


# Bugs: what the trial changed is still there, or the guard ended it, and the text is as ever.
@pytest.mark.parametrize(
    ("made", "words"),
    [
        (replace(BETTER, restored=False), "! Not everything is as it was before the trial."),
        (replace(BETTER, restored=None), "is not known to be put back."),
        (replace(BETTER, restored=False, kept="attach"), "B (attach) was left in place."),
        (replace(BETTER, harm="11 overflows"), "the guard against harm ended the trial: 11"),
        (replace(BETTER, ended_early=True), "It ended early."),
        (trial(connections([1.0] * 9, [2.0] * 9)), "what would become of all"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_it_ended_is_told(made: Trial, words: str) -> None:
    assert words in " ".join(text(made).split())


# Bugs: lines that a terminal breaks; an escape sequence from a metric's name or a command.
@pytest.mark.parametrize("made", [BETTER, several(), replace(several(), ended_early=True)])
def test_lines_are_printable_and_fit(made: Trial) -> None:
    long = Outcome("a_metric_with_quite_a_long_name", "\x1b[1m/s", summary="p99", primary=True)
    outcomes = (long, *made.outcomes[1:])
    units = made.units.astype(units_dtype(outcomes), copy=True)
    design = replace(made.design, arms=("\x1b[2Jas it is", "long " * 30))
    said = text(replace(made, outcomes=outcomes, units=units, aa_units=units[:0], design=design))
    assert all(line.isprintable() for line in said.splitlines())
    assert [line for line in said.splitlines() if len(line) > WIDTH] == []


# Bugs: what is not known is a number; digits that were not measured; a number without its
# thousands.
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "?"),
        (math.nan, "?"),
        (0.0, "0"),
        (12.3456, "12.35"),
        (999.9, "999.9"),
        (1234.5, "1,234"),
        (1e9, "1e+09"),
        (-2500.0, "-2,500"),
    ],
)
def test_numbers(value: float | None, said: str) -> None:
    assert number(value) == said


# Bug: a share is shown as a fraction, or a difference as a share.
def test_amounts() -> None:
    assert amount(0.1234, "relative", "us") == "12.3%"
    assert amount(11.296, "relative", "us") == "1,130%"
    assert amount(1e6, "relative", "us") == "1e+08%"
    assert amount(0.1234, "difference", "us") == "0.123 us"
    assert amount(2.0, "difference", "") == "2"


# Bugs: NaN or an infinity, which are no JSON; a field that CSV has and JSON has not.
def test_records() -> None:
    out = io.StringIO()
    sink = JsonTrial(out, MACHINE)
    made = several()
    sink.write(TrialBatch(replace(made, units=made.units[:20]), ended=False))
    assert out.getvalue() == ""
    sink.write(TrialBatch(replace(made, units=made.units[20:])))
    whole = json.loads(out.getvalue(), parse_constant=pytest.fail)
    assert whole == json.loads(json.dumps(trial_record(made)))
    assert whole["design"]["arms"] == {"a": "as it is", "b": "attach"}
    assert whole["units"] == {"a": 40, "b": 40, "aa": 0}
    assert [one["verdict"] for one in whole["effects"]] == [
        *("better", "no difference shown", "not known")
    ]
    assert [*whole["effects"][0]] == [*NAMES]
    assert whole["effects"][2]["low"] is None

    out = io.StringIO()
    CsvTrial(out, MACHINE).write(TrialBatch(replace(made, outcomes=made.outcomes)))
    rows = [*csv.DictReader(io.StringIO(out.getvalue()))]
    assert [row["outcome"] for row in rows] == ["queue_wait", "requests", "drops"]
    assert float(rows[0]["low"]) == whole["effects"][0]["low"]
    assert rows[2]["low"] == ""
    assert "values are 0" in rows[2]["warnings"]


# Bug: the name of a metric is a formula in a spreadsheet.
def test_a_formula_does_not_reach_a_spreadsheet() -> None:
    outcome = Outcome("=1+1", "=2")
    units = HALVED.astype(units_dtype((outcome,)), copy=True)
    out = io.StringIO()
    CsvTrial(out, MACHINE).write(TrialBatch(trial(units, outcome)))
    (row,) = csv.DictReader(io.StringIO(out.getvalue()))
    assert (row["outcome"], row["unit"]) == ("'=1+1", "'=2")


# Bug: parts of a trial are added up in the wrong order, or the plan is printed for each.
def test_parts_are_put_together() -> None:
    out = io.StringIO()
    sink, summary = TextTrial(out, MACHINE), TrialSummary(MACHINE)
    assert [*summary_lines(summary)] == ["the trial has no units"]
    for begin in range(0, 80, 20):
        units, before = (part[begin : begin + 20] for part in (BETTER.units, BETTER.aa_units))
        batch = TrialBatch(replace(BETTER, units=units, aa_units=before), ended=begin == 60)
        assert len(batch.first(7)) == 7
        sink.write(batch)
        summary.write(batch)
    said = out.getvalue() + "\n".join(summary_lines(summary))
    assert said.splitlines() == [*lines(BETTER)]


# Bug: the screen stays as it was before the first result, or lost events are not on it.
def test_the_dashboard_shows_the_result() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    dashboard = TrialDashboard(MACHINE, Header("lab", "6.18", "none", "port 8080"), console)
    with console.capture() as captured:
        console.print(dashboard)
        dashboard.write(TrialBatch(BETTER))
        console.print(dashboard)
    assert "no unit is over yet" in captured.get()
    assert "better" in captured.get()
    assert "2 lost" in captured.get()
