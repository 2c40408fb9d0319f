"""The table of kernels: what came of the live tests, as markdown.

Pure: results in, text out, and text of an earlier page, whose columns of other kernels stay. A
cell is one subject (accept, received packets, ...) on one rung of one kernel: a measured pass, a
limitation with the reason that was given for it, or a failure. What was not measured is a failure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality.text import printable
from tests.live.helpers.subjects import LADDERS, WITHOUT_RUNG
from tests.vm.kernel_images import SOURCES
from tests.vm.results import FAILED, NOT_RUN, PASSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.vm.results import Result

#: What a test says when it is the kernel that cannot, as tests/conftest.py wants it.
LIMITATION = "limitation: "

#: Of subjects that have no rungs.
ANY = "any"

#: The rows: subjects, which are the markers of the tests, each on its rungs.
ROWS = [
    *((subject, rung.name) for subject, ladder in LADDERS.items() for rung in ladder),
    *((subject, ANY) for subject in WITHOUT_RUNG),
]
TITLES = {
    "accept": "accept",
    "skb_rx": "skb RX",
    "skb_tx": "skb TX",
    "udp": "UDP",
    "chosen": "as the tool chooses",
    "agree": "skb probe types agree",
    "attach": "attach",
}
TITLED = [(TITLES[subject], rung) for subject, rung in ROWS]

HEAD = """\
# Which measurement works on which kernel

`make test-kernels` wrote this page and overwrites it: it runs the core of the live tests on each
kernel. `make test-kernel KERNEL=6.1` runs all of them on one kernel, and replaces its column. The
first rows say which commit a column was measured on, and with which tests.

Debian's kernels run under QEMU with 4 CPUs. Names that end in amd64 are kernels of x86-64. Those
that end in arm64 (pages of 4 KiB) and arm64-16k are kernels of arm64, with programs of arm64. The
column marked "not in QEMU" is the kernel of the machine that ran the tests.
Each measurement has several probe types (option `--rung`); a row is one of them.

"""

LEGEND = """
- **pass (N)**: N live tests passed with this probe type, and none failed. They make real
  connections and packets over loopback and compare the counts with what the programs sent.
  A test of both directions counts in both rows. A note names what the tests could not check
  on this kernel.
- **not measured**: this row is newer than the last run on this kernel.
- **limitation**: the measurement cannot use this probe type on this kernel. The note says what
  the kernel or the tool answered.
- **FAIL**: the note names the tests, or says why there is no result. A test that fails is run
  once more, and the second result counts.
- **as the tool chooses**: the tests let the tool choose the probe type. They cover the choice
  itself, `locality check`, and the experiment with nginx.
- **skb probe types agree**: all probe types count the same packets at once; see
  [accuracy](accuracy.md).
- **attach**: `attach-cbpf` on groups of other processes, and the experiment with nginx. This
  needs no probe type.
"""


#: The first rows of the page, which are of no subject: what was tested, and with which tests.
COMMIT, TESTS = ("commit", ""), ("live tests", "")


@dataclass(frozen=True)
class Cell:
    """What came of the tests of one subject on one rung.

    Attributes:
        passed: How many passed.
        failed: The names of those that failed.
        limits: Why tests were skipped, each reason once.
    """

    passed: int = 0
    failed: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """One of pass, limitation, FAIL."""
        if self.failed:
            return "FAIL"
        return "pass" if self.passed else "limitation"


@dataclass(frozen=True)
class Column:
    """One kernel.

    Attributes:
        title: What `uname -r` says, and where it runs if not in a guest.
        cells: By (subject, rung), for each of `ROWS`.
        commit: Of the checkout that was tested.
        tests: Which live tests ran there: all, or the core.
    """

    title: str
    cells: Mapping[tuple[str, str], Cell]
    commit: str = "?"
    tests: str = "all"


@dataclass(frozen=True)
class Shown:
    """One kernel as it stands in the page.

    Attributes:
        title: As of `Column`, in markdown.
        cells: By (title of the subject, rung): the words, and the notes, in markdown;
            `COMMIT` and `TESTS`, too.
    """

    title: str
    cells: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]]

    @property
    def kernel(self) -> str:
        """Its name, a key of `SOURCES`; empty for the kernel of the machine that ran the tests."""
        names = [
            name
            for name, source in SOURCES.items()
            if self.title.startswith(f"{source.release}.")
            and self.title.endswith(f"-{source.flavour}")
        ]
        return max(names, key=lambda name: len(SOURCES[name].flavour), default="")


@dataclass
class _Notes:
    """Footnotes, numbered as they come, each text once."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> str:
        if text not in self.texts:
            self.texts.append(text)
        return f"[^{self.texts.index(text) + 1}]"


def cells(results: Iterable[Result], otherwise: str) -> dict[tuple[str, str], Cell]:
    """The cells of one kernel.

    Args:
        results: What came of each test.
        otherwise: Why there is nothing, for cells that have no test, and tests that did not run.

    Returns:
        A cell for each of `ROWS`.
    """
    known = list(results)
    return {
        (subject, rung): _cell(
            [one for one in known if subject in one.subjects and rung in {ANY, one.rung}], otherwise
        )
        for subject, rung in ROWS
    }


def _cell(results: Sequence[Result], otherwise: str) -> Cell:
    passed, missing, failed, limits = 0, 0, [], []
    for result in results:
        name = result.test.rpartition("/")[2].replace(".py::", "::", 1)
        if result.outcome == PASSED:
            passed += 1
        elif result.outcome == FAILED:
            failed.append(name)
        elif result.outcome == NOT_RUN:
            missing += 1
        elif result.reason.startswith(LIMITATION):
            limits.append(result.reason.removeprefix(LIMITATION))
        else:
            failed.append(f"{name} (skipped: {result.reason})")
    if missing or not results:
        tests = "1 test" if missing == 1 else f"{missing} tests"
        failed.append(f"{tests} did not run: {otherwise}" if missing else otherwise)
    return Cell(passed, tuple(failed), tuple(dict.fromkeys(limits)))


def table(columns: Sequence[Column], earlier: str = "") -> str:
    """The table and its notes.

    Args:
        columns: What was measured.
        earlier: A page: its columns of other kernels stay.
    """
    notes = _Notes()
    shown = {column.kernel: column for column in _columns_of(earlier)}
    shown |= {column.kernel: column for column in map(_shown_column, columns)}
    order = [name for name in (*SOURCES, "") if name in shown]
    lines = [
        _line(["", "probe type", *(shown[name].title for name in order)]),
        _line(["---"] * (2 + len(order))),
    ]
    for row, otherwise in [
        (COMMIT, "?"),
        (TESTS, "all"),
        *((row, "not measured") for row in TITLED),
    ]:
        found = (shown[name].cells.get(row, (otherwise, ())) for name in order)
        lines.append(
            _line([*row, *(words + "".join(map(notes.mark, why)) for words, why in found)])
        )
    lines.append("")
    lines += [f"[^{number}]: {text}" for number, text in enumerate(notes.texts, start=1)]
    return "\n".join(lines) + "\n"


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _shown_column(column: Column) -> Shown:
    found = {
        (TITLES[subject], rung): _shown(cell) for (subject, rung), cell in column.cells.items()
    }
    about = {COMMIT: (_escape(column.commit), ()), TESTS: (column.tests, ())}
    return Shown(_escape(column.title), {**about, **found})


def _shown(cell: Cell) -> tuple[str, tuple[str, ...]]:
    """The words of a cell, and its notes."""
    if cell.verdict == "FAIL":
        return "**FAIL**", ("; ".join(_escape(name) for name in cell.failed),)
    words = f"pass ({cell.passed})" if cell.verdict == "pass" else "limitation"
    return words, tuple(_escape(reason) for reason in cell.limits)


def _columns_of(page: str) -> list[Shown]:
    """The columns of a page that this module wrote."""
    texts = dict(re.findall(r"^\[\^(\d+)\]: (.*)$", page, re.MULTILINE))
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    rows = [re.split(r" (?<!\\)\| ", line[2:-2]) for line in lines]
    if not rows:
        return []
    (_, _, *titles), _, *rows = rows
    found: list[dict[tuple[str, str], tuple[str, tuple[str, ...]]]] = [{} for _ in titles]
    for subject, rung, *words in rows:
        for column, cell in zip(found, words, strict=True):
            marks = tuple(texts[number] for number in re.findall(r"\[\^(\d+)\]", cell))
            column[subject, rung] = cell.partition("[^")[0], marks
    return [Shown(*column) for column in zip(titles, found, strict=True)]


def _escape(text: str) -> str:
    """Text from elsewhere in a cell or a note: on one line, and not read as markdown."""
    return "".join(
        "\\" + letter if letter in "\\`*_[]<>|" else letter for letter in printable(text)
    )


def page(columns: Sequence[Column], earlier: str = "") -> str:
    """The whole of docs/generated/compatibility.md; the arguments are those of `table`."""
    return HEAD + table(columns, earlier) + LEGEND + "".join(_rung_notes())


def _rung_notes() -> Iterator[str]:
    """What the tool itself says beside the figures of a rung."""
    ladders = {"accept": LADDERS["accept"], "skb": LADDERS["skb_rx"], "udp": LADDERS["udp"]}
    told = [
        f"- {name}, {rung.name}: {_escape(rung.note)}\n"
        for name, ladder in ladders.items()
        for rung in ladder
        if rung.note
    ]
    if told:
        yield "\nWith some probe types the tool prints a note about what they miss:\n\n"
        yield from told
