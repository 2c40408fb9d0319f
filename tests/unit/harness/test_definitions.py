"""The page on the definitions: its table, its figure and its data belong together."""

import math
import re
from pathlib import Path

import pytest

from locality.errors import LocalityError
from validation.definitions import Row, read_csv, table, write_csv
from validation.definitions_page import BARS, DOCS, PANELS, label, picture, with_table

ROWS = read_csv(DOCS / "definitions.csv")


# New data committed without the table that is made of it, or a table touched by hand.
def test_the_table_is_that_of_the_data() -> None:
    assert f"\n{table(ROWS)}\n" in (DOCS / "definitions.md").read_text()


# A figure drawn from other data: every kernel and every bar's number is there, in the order drawn.
def test_the_figure_is_that_of_the_data() -> None:
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", (DOCS / "definitions.svg").read_text())
    expected = []
    for protocol, cpus, _since in PANELS:
        shown = [row for row in ROWS if (row.protocol, row.cpus) == (protocol, cpus)]
        expected.append([row.release for row in shown])
        expected += [[label(getattr(row, name)) for row in shown] for name, *_ in BARS]
    rest = iter(texts)
    for wanted in (text for group in expected for text in group):
        assert wanted in rest, f"{wanted} is not drawn where it should be"


# A figure that changes with every run, or tells where it was made, does not belong into git.
def test_a_figure_is_the_same_each_time_and_small() -> None:
    one = picture(ROWS)
    assert one == picture(ROWS)
    assert len(one) < 60_000
    assert str(Path.cwd()) not in one
    assert "<dc:date>" not in one


# A figure that is not seen must come back as such, not as 0.
def test_rows_survive_a_file(tmp_path: Path) -> None:
    unseen = Row("6.18.5", "raw-tracepoint", "TCP", 2, 9, 8, 1, None, 7, None, None, None)
    file = tmp_path / "rows.csv"
    write_csv([*ROWS, unseen], file)
    assert read_csv(file) == [*ROWS, unseen]
    assert "| 6.18 | raw-tracepoint | TCP, two CPUs | 9 | 12.50% | ? | ? |" in table([unseen])


# A second table below the first, or text lost around it: without its end, all that comes after.
def test_a_table_takes_the_place_of_the_one_before() -> None:
    page = (DOCS / "definitions.md").read_text()
    other = with_table(page, ROWS[:1])
    assert other != page
    assert other.count("| kernel |") == 1
    assert with_table(other, ROWS) == page
    with pytest.raises(LocalityError, match="a mark is missing"):
        with_table(page.replace("<!-- end of it -->", ""), ROWS)


# 99.96 % is not all.
def test_a_bar_is_labelled_with_no_more_than_there_is() -> None:
    assert [label(share) for share in (100.0, 99.96, 0.0, math.nextafter(100, 0), None)] == [
        "100", "99.9", "0.0", "99.9", "?",
    ]  # fmt: skip
