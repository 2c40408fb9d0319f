"""What the documentation says of columns is what the tables of columns say."""

from __future__ import annotations

from pathlib import Path

import pytest

import locality
from locality.accept import columns as accept
from locality.recording.columns import Column, markdown
from locality.skb import columns as skb
from locality.udp import columns as udp

DOCS = Path(locality.__file__).parents[1] / "docs"


# Bug: a column is added, renamed or gets another meaning, and the documentation stays as it was.
@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (accept.COLUMNS, ""),
        (skb.COLUMNS, skb.PAIR),
        (skb.COLUMNS, skb.TOTAL),
        ([column for column in udp.COLUMNS if column.name != "row"], ""),
    ],
    ids=["accepts", "skb", "skb_totals", "udp"],
)
def test_recorded_columns_are_documented(columns: list[Column], row: str) -> None:
    table = "\n".join(markdown(columns, row))
    assert table in (DOCS / "recordings.md").read_text(), f"docs/recordings.md needs:\n{table}"
