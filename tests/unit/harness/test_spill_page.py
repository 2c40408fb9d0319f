"""The pages with the figures of `make spill`."""

from __future__ import annotations

import json

import pytest

from validation.marked_page import filled
from validation.spill_page import DOCS, PAGES


# Bugs: a page shows other figures than the file with all of them; the marks are lost, and the next
# run drops the text after them.
@pytest.mark.parametrize("name", PAGES)
def test_pages_show_what_was_measured(name: str) -> None:
    found = json.loads((DOCS / "generated/spill.json").read_text())
    page = (DOCS / name).read_text(encoding="utf-8")
    assert filled(page, "spill", PAGES[name](found)) == page
