"""The table of kernels: what came of the live tests, as markdown.

Pure: results in, text out. A cell is one subject (accept, received packets, ...) on one rung of
one kernel: a measured pass, a limitation with the reason that was given for it, or a failure.
What was not measured is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality.accept import source as accept
from locality.skb import source as skb
from locality.text import printable
from locality.udp import source as udp
from tests.vm.results import FAILED, NOT_RUN, PASSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from locality.bpf.ladder import Rung
    from tests.vm.results import Result

#: What a test says when it is the kernel that cannot, as tests/conftest.py wants it.
LIMITATION = "limitation: "

#: Of subjects that have no rungs.
ANY = "any"

LADDERS: Mapping[str, Sequence[Rung]] = {
    "accept": accept.RUNGS,
    "skb_rx": skb.RUNGS,
    "skb_tx": skb.RUNGS,
    "udp": udp.RUNGS,
}

#: The rows: subjects, which are the markers of the tests, each on its rungs.
ROWS = [
    *((subject, rung.name) for subject, ladder in LADDERS.items() for rung in ladder),
    ("chosen", ANY),
    ("agree", ANY),
    ("attach", ANY),
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

HEAD = """\
# Which measurement works on which kernel

`make test-kernels` wrote this page and overwrites it. Debian's kernels run under QEMU with
4 CPUs. Names that end in amd64 are kernels of x86-64. Those that end in arm64 (pages of 4 KiB) and
arm64-16k are kernels of arm64, with programs of arm64. The column marked "not in QEMU" is the
kernel of the machine that ran the tests.
Each measurement has several probe types (option `--rung`); a row is one of them.

"""

LEGEND = """
- **pass (N)**: N live tests passed with this probe type, and none failed. They make real
  connections and packets over loopback and compare the counts with what the programs sent.
  A test of both directions counts in both rows. A note names what the tests could not check
  on this kernel.
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
    """

    title: str
    cells: Mapping[tuple[str, str], Cell]


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
        failed.append(f"{missing} tests did not run: {otherwise}" if missing else otherwise)
    return Cell(passed, tuple(failed), tuple(dict.fromkeys(limits)))


def table(columns: Sequence[Column]) -> str:
    """The table and its notes."""
    notes = _Notes()
    lines = [
        _line(["", "probe type", *(_escape(column.title) for column in columns)]),
        _line(["---"] * (2 + len(columns))),
    ]
    lines += [
        _line(
            [TITLES[subject], rung]
            + [_shown(column.cells[subject, rung], notes) for column in columns]
        )
        for subject, rung in ROWS
    ]
    lines.append("")
    lines += [f"[^{number}]: {text}" for number, text in enumerate(notes.texts, start=1)]
    return "\n".join(lines) + "\n"


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def _shown(cell: Cell, notes: _Notes) -> str:
    if cell.verdict == "FAIL":
        return "**FAIL**" + notes.mark("; ".join(_escape(name) for name in cell.failed))
    marks = "".join(notes.mark(_escape(reason)) for reason in cell.limits)
    return (f"pass ({cell.passed})" if cell.verdict == "pass" else "limitation") + marks


def _escape(text: str) -> str:
    """Text from elsewhere in a cell or a note: on one line, and not read as markdown."""
    return "".join(
        "\\" + letter if letter in "\\`*_[]<>|" else letter for letter in printable(text)
    )


def page(columns: Sequence[Column]) -> str:
    """The whole of docs/generated/compatibility.md."""
    return HEAD + table(columns) + LEGEND + "".join(_rung_notes())


def _rung_notes() -> Iterator[str]:
    """What the tool itself says beside the figures of a rung."""
    ladders = {"accept": accept.RUNGS, "skb": skb.RUNGS, "udp": udp.RUNGS}
    told = [
        f"- {name}, {rung.name}: {_escape(rung.note)}\n"
        for name, ladder in ladders.items()
        for rung in ladder
        if rung.note
    ]
    if told:
        yield "\nWith some probe types the tool prints a note about what they miss:\n\n"
        yield from told
