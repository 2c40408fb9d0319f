"""Trials for programs: one JSON object, or a row of CSV for each outcome."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from locality.stream import Output
from locality.text import spreadsheet_text
from locality.trial.batch import TrialSummary
from locality.trial.doubts import doubts_of_lost, of_trial
from locality.trial.effects import effects
from locality.trial.holm import after_holm, holm
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from locality.machine.topology import Topology
    from locality.trial.batch import TrialBatch
    from locality.trial.effects import Effect, Interval
    from locality.trial.observation import Trial

#: The fields of an effect in JSON, and the columns of CSV.
NAMES = (
    *("outcome", "unit", "better", "summary", "primary", "a", "b", "difference", "relative"),
    *("scale", "estimate", "low", "high", "verdict", "smallest", "p", "p_holm", "units"),
    *("aa_low", "aa_high", "method", "warnings", "remains"),
)


class JsonTrial(Output["TrialBatch"]):
    """One object for the trial, when it has ended."""

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._summary = TrialSummary(machine)

    def write(self, batch: TrialBatch) -> None:
        """Take a part."""
        self._summary.write(batch)
        if batch.ended and self._summary.trial is not None:
            self._out.write(json.dumps(trial_record(self._summary.trial)) + "\n")
        self._out.flush()


class CsvTrial(Output["TrialBatch"]):
    """One row for each outcome, when the trial has ended; None is empty."""

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._summary = TrialSummary(machine)
        self._writer = csv.DictWriter(out, NAMES, lineterminator="\n")
        self._writer.writeheader()

    def write(self, batch: TrialBatch) -> None:
        """Take a part."""
        self._summary.write(batch)
        if batch.ended and self._summary.trial is not None:
            for one in effect_records(self._summary.trial):
                one["warnings"] = " / ".join(one["warnings"])
                texts = ("outcome", "unit", "warnings")
                self._writer.writerow(one | {name: spreadsheet_text(one[name]) for name in texts})
        self._out.flush()


def trial_record(trial: Trial) -> dict[str, Any]:
    """A trial as one record: its plan, its effects, and what was left out; None: not known."""
    design = asdict(trial.design)
    design["arms"] = dict(zip("ab", trial.design.arms, strict=True))
    return {
        "target": trial.target,
        "design": design,
        "began": trial.began or None,
        "units": {
            "a": int((trial.units["arm"] == A).sum()),
            "b": int((trial.units["arm"] == B).sum()),
            "aa": len(trial.aa_units),
        },
        "outcomes_looked_at": len(trial.outcomes),
        "effects": effect_records(trial),
        "warnings": [*of_trial(trial), *doubts_of_lost(trial)],
        "left_out": dict(trial.left_out),
        "lost": trial.lost,
        "ended_early": trial.ended_early,
        "harm": trial.harm,
        "restored": trial.restored,
        "kept": trial.kept,
        "facts": dict(trial.facts),
    }


def effect_records(trial: Trial) -> list[dict[str, Any]]:
    """The effect on each outcome as a flat record, with the names of `NAMES`."""
    found = effects(trial)
    corrected = zip(found, holm(found), after_holm(found), strict=True)
    return [_record(one, p) | {"remains": remains} for one, p, remains in corrected]


def _record(effect: Effect, p_holm: float | None) -> dict[str, Any]:
    outcome, interval, aa = effect.outcome, effect.interval, effect.aa
    values = {
        "outcome": outcome.label,
        "unit": outcome.unit,
        "better": outcome.better,
        "summary": outcome.summary,
        "primary": outcome.primary,
        "a": effect.a,
        "b": effect.b,
        "difference": effect.difference,
        "relative": effect.relative,
        **_bounds(interval),
        "verdict": effect.verdict.value,
        "smallest": effect.smallest,
        "p": effect.p,
        "p_holm": p_holm,
        "units": effect.units,
        "aa_low": aa.low if aa else None,
        "aa_high": aa.high if aa else None,
        "method": interval.method if interval else None,
        "warnings": [*effect.warnings],
    }
    return {name: values[name] for name in NAMES if name in values}


def _bounds(interval: Interval | None) -> dict[str, Any]:
    names = ("scale", "estimate", "low", "high")
    return {name: getattr(interval, name) if interval else None for name in names}
