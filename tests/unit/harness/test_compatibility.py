"""The table of kernels: what pytest did to results, these to cells, cells to markdown."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from locality.accept import source as accept
from locality.skb import source as skb
from locality.udp import source as udp
from tests.checkout import CHECKOUT
from tests.vm.compatibility import ANY, ROWS, Cell, Column, cells, page, table
from tests.vm.results import Result, read

if TYPE_CHECKING:
    from pathlib import Path

GONE = "no result: the kernel was gone"

# What real tests leave: pytest runs these, with the hooks that the live tests have.
TESTS = """
import pytest

each_rung = pytest.mark.parametrize("rung", ["fentry"])

@pytest.fixture
def broken():
    yield
    raise RuntimeError("on the way out")

@pytest.fixture
def impossible():
    raise RuntimeError("on the way in")

@pytest.mark.accept
@each_rung
def test_good(rung): pass

@pytest.mark.accept
@each_rung
@pytest.mark.parametrize("a", ["x", "y|z"])
def test_bad(rung, a): assert a == "x"

@pytest.mark.skb_rx
@pytest.mark.skb_tx
@each_rung
def test_both(rung): pass

@pytest.mark.skb_rx
@each_rung
def test_not_here(rung): pytest.skip("limitation: no readers are seen")

@pytest.mark.skb_rx
@each_rung
def test_nor_here(rung): pytest.skip("limitation: no readers are seen")

@pytest.mark.skb_tx
@pytest.mark.parametrize("rung_tried", ["fentry"])
def test_hidden(rung_tried): pytest.skip("not installed")

@pytest.mark.udp
@each_rung
def test_datagrams(rung): pass

@pytest.mark.attach
def test_never(): pytest.skip("limitation: the kernel said <no>")

@pytest.mark.chosen
def test_error(impossible): pass

@pytest.mark.chosen
def test_late_error(broken): pass

def test_of_something_else(): assert False
"""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    directory = tmp_path_factory.mktemp("results")
    done = run_live(directory, TESTS)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    return read((directory / "results").read_text())


def run_live(
    directory: Path, tests: str, rung: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run tests as if they were live ones in a guest; leaves a file of results."""
    (directory / "test_sample.py").write_text(tests)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", directory, "-c", "pyproject.toml"),
            *("-p", "tests.live.conftest", "-p", "no:cacheprovider", "--color=no"),
            *("-p", "no:hypothesispytest", "-p", "no:xdist"),
            *("-p", "tests.vm.results", "--results", directory / "results"),
        ],
        cwd=CHECKOUT,
        env={**os.environ, "LOCALITY_RUNG": rung, **more},
        check=False,
        capture_output=True,
        text=True,
    )


# Bug: a new test runs on no other kernel, or is in no row of the table, and nobody notices.
@pytest.mark.parametrize(
    ("test", "answer"),
    [
        (
            "@pytest.mark.parametrize('rung', 'a')\ndef test_x(rung): pass",
            "test_sample.py::test_x[a] does not say what it measures",
        ),
        (
            "@pytest.mark.skb_tx\ndef test_x(): pass",
            "test_sample.py::test_x does not say on which rung",
        ),
    ],
)
def test_who_measures_must_say_what_and_on_which_rung(
    tmp_path: Path, test: str, answer: str
) -> None:
    done = run_live(tmp_path, f"import pytest\n{test}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert answer in done.stderr


# Bugs: a rung that one measurement lacks is a failure of it, or its tests are gone without a
# word; what needs no rung is skipped too; with a rung that is misspelt all is well.
def test_a_rung_that_a_measurement_lacks(tmp_path: Path) -> None:
    tests = """
import pytest
from locality.skb.source import RUNGS, SkbSource
from tests.live.helpers.rungs import parametrize, stand_on, to_stand_on

def pytest_generate_tests(metafunc): parametrize(metafunc, SkbSource, RUNGS)

@pytest.mark.skb_rx
@pytest.mark.parametrize("rung_tried", to_stand_on(RUNGS))
def test_what_is_tried(rung_tried): stand_on(SkbSource, RUNGS, rung_tried)

@pytest.mark.skb_tx
def test_sent(rung): assert False

def test_of_something_else(): assert False
"""
    done = run_live(tmp_path, tests, rung="tracepoint")
    known = read((tmp_path / "results").read_text()).values()
    assert [(one.rung, one.outcome, one.reason) for one in known if one.subjects] == [
        ("tracepoint", "skipped", "limitation: there is no rung 'tracepoint' for this measurement")
    ] * 2
    assert "::test_of_something_else - assert False" in done.stdout
    misspelt = run_live(tmp_path, tests, rung="tracepiont")
    assert misspelt.returncode == pytest.ExitCode.USAGE_ERROR


# Bugs: a failure that counts as a pass, or only one of its kind does; an error before or after a
# test is none; the same skip is told twice; a test is put into another subject's or rung's cell.
def test_cells(known: dict[str, Result]) -> None:
    found = cells(known.values(), GONE)
    assert {row: cell for row, cell in found.items() if row[1] == "fentry"} == {
        ("accept", "fentry"): Cell(2, ("test_sample::test_bad[y|z-fentry]",)),
        ("skb_rx", "fentry"): Cell(1, (), ("no readers are seen",)),
        ("skb_tx", "fentry"): Cell(
            1, ("test_sample::test_hidden[fentry] (skipped: not installed)",)
        ),
        ("udp", "fentry"): Cell(1),
    }
    verdicts = [cell.verdict for (_, rung), cell in found.items() if rung == "fentry"]
    assert verdicts == ["FAIL", "pass", "FAIL", "pass"]
    assert {cell for (_, rung), cell in found.items() if rung == "kprobe"} == {Cell(0, (GONE,))}
    assert found["chosen", ANY].failed == (
        "test_sample::test_error",
        "test_sample::test_late_error",
    )
    assert found["attach", ANY] == Cell(0, (), ("the kernel said <no>",))
    assert found["attach", ANY].verdict == "limitation"


# Bugs: a kernel that died, or a run that selected nothing, looks as if it had nothing to say; what
# was done before it died hides what was not.
def test_what_was_not_measured_is_a_failure() -> None:
    assert set(cells([], GONE).values()) == {Cell(0, (GONE,))}
    done = Result("tests/live/test_x.py::test_a", ("accept",), "tracepoint", "passed")
    died = Result("tests/live/test_x.py::test_b", ("accept",), "tracepoint")
    found = cells([done, died], GONE)
    assert found["accept", "tracepoint"] == Cell(1, (f"1 test did not run: {GONE}",))
    assert found["accept", "tracepoint"].verdict == "FAIL"


# Bugs: a second run repeats what passed, or leaves out what failed; its results do not count; a
# guest that dies in the middle of a line takes all results with it.
def test_the_second_run_repeats_what_did_not_pass(tmp_path: Path) -> None:
    tests = """
import os, pytest

@pytest.mark.attach
def test_passes(): pass

@pytest.mark.attach
def test_passes_the_second_time(): assert "SECOND" in os.environ

@pytest.mark.attach
def test_dies():
    if "SECOND" not in os.environ: os._exit(1)

@pytest.mark.attach
def test_comes_after(): pass
"""
    file = tmp_path / "results"
    run_live(tmp_path, tests)
    outcomes = [one.outcome for one in read(file.read_text()).values()]
    assert outcomes == ["passed", "failed", "not run", "not run"]
    cell = cells(read(file.read_text()).values(), GONE)["attach", ANY]
    assert (cell.passed, len(cell.failed)) == (1, 2)
    with file.open("a") as results:
        results.write('{"test": "')
    assert [one.outcome for one in read(file.read_text()).values()] == outcomes
    second = run_live(tmp_path, tests, SECOND="1")
    assert "3 passed, 1 deselected" in second.stdout
    assert cells(read(file.read_text()).values(), GONE)["attach", ANY] == Cell(4)


def column(title: str, tests: str = "all", **odd: Cell) -> Column:
    """A kernel on which all is well, except the accept rows given by their rungs."""
    return Column(
        title,
        {row: Cell(3) for row in ROWS} | {("accept", r): c for r, c in odd.items()},
        "abc1234",
        tests,
    )


# Bugs: a cell under another kernel or beside another rung; a reason that ends the cell, or is
# read as markup; notes that refer to each other's texts; more columns in one row than another.
def test_the_table() -> None:
    refused = Cell(0, (), ("the kernel said: a|b\nc_d",))
    lines = table(
        [
            column("5.10.0-9-amd64", fentry=refused, kprobe=Cell(2, (), ("no readers",))),
            column("6|1 (here)", "core", fentry=Cell(1, ("test_x[a|b]", "test_y")), kprobe=refused),
        ]
    ).splitlines()
    assert lines.pop(2) == "| commit |  | abc1234 | abc1234 |"
    assert lines.pop(2) == "| live tests |  | all | core |"
    assert lines[:4] == [
        "|  | probe type | 5.10.0-9-amd64 | 6\\|1 (here) |",
        "| --- | --- | --- | --- |",
        "| accept | kprobe | pass (2)[^1] | limitation[^2] |",
        "| accept | fentry | limitation[^2] | **FAIL**[^3] |",
    ]
    assert set(lines[4 : len(ROWS) + 2]) == {
        f"| {title} | {rung} | pass (3) | pass (3) |"
        for title, rung in [
            *(("accept", rung) for rung in ("tracepoint", "raw-tracepoint")),
            *(("skb RX", rung) for rung in ("fentry", "kprobe", "raw-tracepoint")),
            *(("skb TX", rung) for rung in ("fentry", "kprobe", "raw-tracepoint")),
            *(("UDP", rung) for rung in ("fentry", "kprobe", "raw-tracepoint")),
            ("as the tool chooses", "any"),
            ("skb probe types agree", "any"),
            ("attach", "any"),
        ]
    }
    assert lines[len(ROWS) + 2 :] == [
        "",
        "[^1]: no readers",
        "[^2]: the kernel said: a\\|b\\\\nc\\_d",
        "[^3]: test\\_x\\[a\\|b\\]; test\\_y",
    ]


# Bugs: a run on one kernel takes the columns of the others away, or their notes, or mixes them up;
# the kernel of another architecture or flavour replaces one of the same release; what nobody
# measured passes; a column that stays claims the commit, or the tests, of the one that is new.
def test_a_run_on_one_kernel_keeps_the_other_columns() -> None:
    refused = Cell(0, (), ("said: a|b\\",))
    old = [
        column("5.10.0-9-amd64", fentry=refused),
        column("6.12.1+deb13-amd64", kprobe=refused),
        column("6.18.1 (not in QEMU)", fentry=Cell(1, ("test_x[a|b]",))),
    ]
    before = page(old)
    assert page([], before) == page(old[:1], before) == before
    arm = column("6.12.1+deb13-arm64", "core", kprobe=Cell(2, (), ("no readers",)))
    newer = column("6.12.7+deb13-amd64", fentry=refused)
    assert page([arm, newer], before) == page([old[0], newer, arm, old[2]])
    lacking = ("| attach", "| commit")
    less = "".join(line for line in before.splitlines(True) if not line.startswith(lacking))
    rows = [line for line in page([arm], less).splitlines() if line.startswith(lacking)]
    assert rows == [
        "| commit |  | ? | ? | abc1234 | ? |",
        "| attach | any | not measured | not measured | pass (3) | not measured |",
    ]


# Bug: what the tool itself says that a rung does not see is not on the page.
def test_the_page_has_the_notes_of_the_rungs() -> None:
    text = page([column("6.1")])
    assert table([column("6.1")]) in text
    for ladder in (accept.RUNGS, skb.RUNGS, udp.RUNGS):
        assert all(rung.note in text.replace("\\", "") for rung in ladder)
