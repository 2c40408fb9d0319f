"""The table of kernels: junit files to cells, cells to markdown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from locality.accept import source as accept
from locality.skb import source as skb
from locality.udp import source as udp
from tests.vm.compatibility import ANY, ROWS, Cell, Column, cells, page, table

CHECKOUT = Path(__file__).parents[2]
GONE = "no result: the kernel was gone"

# What real tests leave: pytest runs these, with the hooks that the live tests have.
TESTS = """
import pytest

@pytest.fixture
def broken():
    yield
    raise RuntimeError("on the way out")

@pytest.fixture
def impossible():
    raise RuntimeError("on the way in")

@pytest.mark.accept
def test_good(): pass

@pytest.mark.accept
@pytest.mark.parametrize("a", ["x", "y|z"])
def test_bad(a): assert a == "x"

@pytest.mark.skb_rx
@pytest.mark.skb_tx
def test_both(): pass

@pytest.mark.skb_rx
def test_not_here(): pytest.skip("limitation: no readers are seen")

@pytest.mark.skb_rx
def test_nor_here(): pytest.skip("limitation: no readers are seen")

@pytest.mark.skb_tx
def test_hidden(): pytest.skip("not installed")

@pytest.mark.udp
def test_datagrams(): pass

@pytest.mark.attach
def test_never(): pytest.skip("limitation: the kernel said <no>")

@pytest.mark.chosen
def test_error(impossible): pass

@pytest.mark.chosen
def test_late_error(broken): pass

def test_of_something_else(): assert False
"""


@pytest.fixture(scope="module")
def junit(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("junit")
    done = run_live(directory, TESTS)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    return (directory / "xml").read_text()


def run_live(directory: Path, tests: str, rung: str = "") -> subprocess.CompletedProcess[str]:
    """Run tests as if they were live ones; leaves a junit file called xml."""
    (directory / "test_sample.py").write_text(tests)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", directory, "-c", "pyproject.toml"),
            *("-p", "tests.live.conftest", "-p", "no:cacheprovider", "--color=no"),
            f"--junitxml={directory}/xml",
        ],
        cwd=CHECKOUT,
        env={**os.environ, "LOCALITY_RUNG": rung},
        check=False,
        capture_output=True,
        text=True,
    )


# Bug: a new test runs on no other kernel, and nobody notices.
def test_who_takes_a_rung_must_say_what_for(tmp_path: Path) -> None:
    done = run_live(
        tmp_path, "import pytest\n@pytest.mark.parametrize('rung', 'a')\ndef test_x(rung): pass"
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_sample.py::test_x[a] does not say what it measures" in done.stderr


# Bugs: a rung that one measurement lacks is a failure of it, or its tests are gone without a
# word; what needs no rung is skipped too; with a rung that is misspelt all is well.
def test_a_rung_that_a_measurement_lacks(tmp_path: Path) -> None:
    done = run_live(tmp_path, TESTS, rung="tracepoint")
    found = cells("fentry", (tmp_path / "xml").read_text(), GONE)
    lacking = Cell(0, (), ("there is no rung 'tracepoint' for this measurement",))
    assert found["skb_rx", "fentry"] == found["skb_tx", "fentry"] == lacking
    assert "::test_of_something_else - assert False" in done.stdout
    misspelt = run_live(tmp_path, TESTS, rung="tracepiont")
    assert misspelt.returncode == pytest.ExitCode.USAGE_ERROR


# Bugs: a failure that counts as a pass, or only one of its kind does; an error before or after a
# test is none; the same skip is told twice; a test is put into another subject's cell.
def test_cells_of_a_rung(junit: str) -> None:
    found = cells("fentry", junit, GONE)
    assert found == {
        ("accept", "fentry"): Cell(2, ("test_sample::test_bad[y|z]",)),
        ("skb_rx", "fentry"): Cell(1, (), ("no readers are seen",)),
        ("skb_tx", "fentry"): Cell(1, ("test_sample::test_hidden (skipped: not installed)",)),
        ("udp", "fentry"): Cell(1),
    }
    assert [cell.verdict for cell in found.values()] == ["FAIL", "pass", "FAIL", "pass"]


def test_cells_of_no_rung(junit: str) -> None:
    found = cells(ANY, junit, GONE)
    assert found["chosen", ANY].failed == (
        "test_sample::test_error",
        "test_sample::test_late_error",
    )
    assert found["attach", ANY] == Cell(0, (), ("the kernel said <no>",))
    assert found["attach", ANY].verdict == "limitation"


# Bugs: a kernel that died, or a run that selected nothing, looks as if it had nothing to say.
@pytest.mark.parametrize("junit", ["", "<testsuites><testsuite/></testsuites>"])
def test_what_was_not_measured_is_a_failure(junit: str) -> None:
    found = cells("tracepoint", junit, GONE)
    assert found == {("accept", "tracepoint"): Cell(0, (GONE,))}
    assert found["accept", "tracepoint"].verdict == "FAIL"


def column(title: str, **odd: Cell) -> Column:
    """A kernel on which all is well, except the accept rows given by their rungs."""
    return Column(
        title, {row: Cell(3) for row in ROWS} | {("accept", r): c for r, c in odd.items()}
    )


# Bugs: a cell under another kernel or beside another rung; a reason that ends the cell, or is
# read as markup; notes that refer to each other's texts; more columns in one row than another.
def test_the_table() -> None:
    refused = Cell(0, (), ("the kernel said: a|b\nc_d",))
    lines = table(
        [
            column("5.10", fentry=refused, kprobe=Cell(2, (), ("no readers",))),
            column("6|1", fentry=Cell(1, ("test_x[a|b]", "test_y")), kprobe=refused),
        ]
    ).splitlines()
    assert lines[:4] == [
        "|  | rung | 5.10 | 6\\|1 |",
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
            ("skb rungs agree", "any"),
            ("attach", "any"),
        ]
    }
    assert lines[len(ROWS) + 2 :] == [
        "",
        "[^1]: no readers",
        "[^2]: the kernel said: a\\|b\\\\nc\\_d",
        "[^3]: test\\_x\\[a\\|b\\]; test\\_y",
    ]


# Bug: what the tool itself says that a rung does not see is not on the page.
def test_the_page_has_the_notes_of_the_rungs() -> None:
    text = page([column("6.1")])
    assert table([column("6.1")]) in text
    for ladder in (accept.RUNGS, skb.RUNGS, udp.RUNGS):
        assert all(rung.note in text.replace("\\", "") for rung in ladder)
