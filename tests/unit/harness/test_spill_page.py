"""The pages with the figures of `make spill`."""

from __future__ import annotations

import json

import pytest

from validation.marked_page import filled
from validation.spill_page import DOCS, PAGES, UNEQUAL


# Bugs: a page shows other figures than the file with all of them; the marks are lost, and the next
# run drops the text after them.
@pytest.mark.parametrize("name", PAGES)
def test_pages_show_what_was_measured(name: str) -> None:
    found = json.loads((DOCS / "generated/spill.json").read_text())
    page = (DOCS / name).read_text(encoding="utf-8")
    assert filled(page, "spill", PAGES[name](found)) == page


# Bug: a round in which nothing was answered has no times, and the page ends in a traceback.
def test_a_round_without_answers() -> None:
    found = json.loads((DOCS / "generated/spill.json").read_text())
    load = found[UNEQUAL[0]]["loads"][0]
    nothing = {"p50": None, "p99": None, "p99.9": None}
    load["steerings"]["hash"][0] |= {"ms": nothing, "local": 0, "accepted": 0}
    for turn in load["steerings"]["map"]:
        turn |= {"ms": nothing, "local": 0, "accepted": 0}
    for lines in PAGES.values():
        rows = [line for line in lines(found) if line.startswith("|")]
        assert any("? ms" in row for row in rows)
        assert not any("None" in row or "nan" in row for row in rows)
