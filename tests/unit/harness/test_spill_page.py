"""The pages with the figures of `make spill`."""

from __future__ import annotations

import json

import pytest

from validation.spill_page import DOCS, PAGES, between_marks


# Bugs: a page shows other figures than the file with all of them; the marks are lost, and the next
# run drops the text after them.
@pytest.mark.parametrize("name", PAGES)
def test_pages_show_what_was_measured(name: str) -> None:
    found = json.loads((DOCS / "generated/spill.json").read_text())
    page = (DOCS / name).read_text(encoding="utf-8")
    assert between_marks(page, PAGES[name](found)) == page
