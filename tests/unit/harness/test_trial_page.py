"""The page on the lab's trials: its tables and its data belong together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from validation import trial_page
from validation.marked_page import filled
from validation.trial_aa import table
from validation.trial_page import DOCS, path_of, tables

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


# New data committed without the table that is made of it, or a table touched by hand.
def test_the_tables_are_those_of_the_data() -> None:
    page = (DOCS / "trial.md").read_text()
    assert filled(page, "trial", tables()) == page
    assert json.loads(path_of("here").read_text())["note"] in page


# A place that was not measured must not look as if it had been.
def test_a_place_without_data_has_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_page, "DOCS", tmp_path)
    assert tables() == []


# What was held and what was not exchanged: 5 % would read as 95 %.
def test_how_often_zero_was_held(tmp_path: Path) -> None:
    file = tmp_path / "aa.csv"
    rows = ["kind,outcome,covers", *["blocks,ipis,True"] * 3, "blocks,ipis,False"]
    file.write_text("\n".join([*rows, "connection,rtt,True"]))
    assert list(table(file))[2:] == [
        "| blocks | ipis | 4 | 3 (75 %) |",
        "| connection | rtt | 1 | 1 (100 %) |",
        "| all | | 5 | 4 (80.0 %) |",
    ]
