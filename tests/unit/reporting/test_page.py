"""The report: a page that needs nothing else, and says what was recorded, to whatever name."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locality.errors import LocalityError
from locality.recording.frames import load
from locality.report import split_sides, write_report
from locality.reporting.page import Page, Section, Table, html, markdown
from tests.unit.recordings import accepts, packets

if TYPE_CHECKING:
    from pathlib import Path

#: Names that threads may have.
COMMS = ("<script>\x1b[31m", "[red]$\\frac$", "_\xe4\u4e2d|`")
HOSTILE = "<script>\x1b[31m[red]&\"'|`$x$"
ACCEPT_FIGURES = ("local-over-time", "matrix", "per-cpu", "workers", "queue-wait", "distances")
SKB_FIGURES = (
    "local-over-time",
    "matrix-rx",
    "per-cpu-rx",
    "matrix-tx",
    "per-cpu-tx",
    "distances",
)


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.figures: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.sources += [found[name] or "" for name in ("src", "href") if name in found]
        if tag == "figure":
            self.figures.append(found["id"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def report(directory: Path, *recordings: Path, figures: Path | None = None) -> Reader:
    out = directory / "report.html"
    write_report(recordings, out, figures=figures)
    return Reader(out.read_text())


def words(directory: Path, *recordings: Path) -> str:
    """The report without figures, which take long to draw, and without Markdown's escapes."""
    out = directory / "report.md"
    write_report(recordings, out, format="md")
    return re.sub(r"\\(.)", r"\1", out.read_text())


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a page with every figure, which is drawn once; figures/ is beside it."""
    directory = tmp_path_factory.mktemp("whole")
    report(
        directory,
        accepts(directory / "one.arrows", 3000, 0.25),
        accepts(directory / "two.arrows", 3000, 0.99),
        packets(directory / "one-skb.arrows", 20, 0.3),
        packets(directory / "two-skb.arrows", 20, 0.3, seed=2),
        figures=directory / "figures",
    )
    return directory


# Bugs: a figure is missing or drawn for another recording; the change is not what the page
# begins with, or the sides are exchanged; kinds are compared with each other.
def test_a_page_has_every_figure_and_begins_with_the_change(whole: Path) -> None:
    page = Reader((whole / "report.html").read_text())
    expected = ["change-accept", "change-rx", "change-delivered", "change-tx"]
    expected += [f"{number}-accept-{name}" for number in (1, 2) for name in ACCEPT_FIGURES]
    expected += [f"{number}-skb-{name}" for number in (3, 4) for name in SKB_FIGURES]
    assert page.figures == expected
    first = re.search(
        r"accept-local: (\S+)% before, (\S+)% after: \+(\S+) percentage points, "
        r"95 % interval \+(\S+) to \+(\S+)\.\n",
        page.text,
    )
    assert first
    before, after, effect, low, high = map(float, first.groups())
    assert before == pytest.approx(25, abs=3)
    assert after == pytest.approx(99, abs=1)
    assert low < effect < high
    received = page.text.index("received packets, consumed-local: ")
    assert "no difference shown" in page.text[received : received + 100]
    written = {path.stem for path in (whole / "figures").glob("*.svg")}
    assert written == {path.stem for path in (whole / "figures").glob("*.png")} == set(expected)


# Bugs: shares by distance of the other side or direction; a distance that the machine has not.
def test_shares_by_distance(tmp_path: Path) -> None:
    recordings = [
        accepts(tmp_path / "before", 3000, 0.25),
        accepts(tmp_path / "after", 3000, 1.0),
        packets(tmp_path / "before-skb", 20, 0.5),
        packets(tmp_path / "after-skb", 20, 1.0),
    ]
    write_report(recordings, tmp_path / "r.md", format="md")
    text = (tmp_path / "r.md").read_text()
    tables = re.findall(r"\| same CPU \| same LLC \| same node \|\n.*\n((?:\|.*\n)+)", text)
    rows = [re.sub(r"[45]\d\.\d+%", "half", table).splitlines() for table in tables]
    of_all = "100.00% | 0.00% | 0.00% |"
    accepted = re.fullmatch(
        r"\| before \| before \| (\S+%) \| 3,000 \| \1 \| 2\S+% \| half \|", rows[0][0]
    )
    assert accepted
    assert rows[0][1] == f"| after | after | 100.00% | 3,000 | {of_all}"
    # CPU 1 shares a cache with 0, which consumes what was sent, and not with 2.
    assert rows[1:3] == [
        [
            f"| before | before-skb | half | 20,000 | {halves} |",
            f"| after | after-skb | 100.00% | 20,000 | {of_all}",
        ]
        for halves in ("half | 0.00% | half", "half | half | 0.00%")
    ]
    assert rows[5:] == [
        ["| received | half | 0.00% | half |", "| sent | half | half | 0.00% |"],
        [f"| received | {of_all}", f"| sent | {of_all}"],
    ]


# Bug: the packets that a rung happens to see stand for those it does not.
def test_shares_that_were_not_seen(tmp_path: Path) -> None:
    write_report([packets(tmp_path / "raw", 20, 0.5, seen=False)], tmp_path / "r.md", format="md")
    assert "\n| sent | ? | ? | ? |\n" in (tmp_path / "r.md").read_text()


# Bug: the page, or a picture in it, fetches something, or points somewhere else.
def test_a_page_needs_no_network(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    assert "://" not in text
    page = Reader(text)
    assert len(page.sources) == len(page.figures) > len(ACCEPT_FIGURES)
    for source in page.sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        picture = base64.b64decode(data).decode()
        assert "://" not in re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", picture)
        links = {
            value
            for part in ET.fromstring(picture).iter()  # noqa: S314 - our own picture
            for name, value in part.attrib.items()
            if name.endswith("href")
        }
        assert all(link.startswith(("#", "data:image/png")) for link in links)


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A page about hostile names, as HTML and as Markdown."""
    directory = tmp_path_factory.mktemp("named")
    recording = accepts(
        directory / f"a{HOSTILE}.arrows",
        50,
        0.5,
        comms=[comm.encode() for comm in COMMS],
        host=HOSTILE,
        label=HOSTILE,
        filter_=HOSTILE,
    )
    report(directory, recording)
    write_report([recording], directory / "r.md", format="md")
    return (directory / "report.html").read_text(), (directory / "r.md").read_text()


# Bugs: a process, host, filter or file becomes markup, acts on the terminal that shows the
# file, is taken for mathematics by the figures, or breaks a Markdown table.
@pytest.mark.parametrize("comm", COMMS)
def test_names_from_outside_are_data(named: tuple[str, str], comm: str) -> None:
    written, text = named
    page = Reader(written)
    shown = comm.replace("\x1b", "\\x1b")
    assert shown in page.text
    assert HOSTILE.replace("\x1b", "\\x1b") in page.text
    assert "script" not in page.tags
    assert "\x1b" not in text + written
    unescaped = re.sub(r"\\.", "", text)
    assert "<script" not in unescaped
    assert "[red]" not in unescaped
    rows = [line for line in unescaped.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {10, 7, 5, 3}


# Bug: empty recordings end in a traceback, or in figures of nothing.
@pytest.mark.parametrize(
    ("count", "sentence"), [(0, "Nothing was recorded"), (1, "One event is no measurement")]
)
def test_recordings_of_nothing_and_of_one(tmp_path: Path, count: int, sentence: str) -> None:
    one, two = (accepts(tmp_path / f"{name}.arrows", count, 1) for name in ("one", "two"))
    page = report(tmp_path, one, two, packets(tmp_path / "skb.arrows", 0, 0.5))
    assert page.text.count(sentence) == (3 if count == 0 else 2)
    assert not [name for name in page.figures if not name.startswith("change")]
    assert "0 packets" in page.text


# Bug: what a rung cannot see is drawn as 0 % local.
def test_what_was_not_seen(tmp_path: Path) -> None:
    one, two = (
        packets(tmp_path / f"{name}.arrows", 20, 0.5, seen=name == "one") for name in ("one", "two")
    )
    page = report(tmp_path, one, two)
    assert "sent ?" in page.text
    assert "change-rx" in page.figures
    assert "change-tx" not in page.figures


# Bug: losses and the torn end of a recording are passed over in silence.
def test_what_is_missing_is_said(tmp_path: Path) -> None:
    recording = accepts(tmp_path / "one.arrows", 500, 0.5, lost=12)
    cut = tmp_path / "cut.arrows"
    cut.write_bytes(recording.read_bytes()[:-300])
    text = words(tmp_path, recording, cut)
    assert "one.arrows, cut.arrows: 12 connections lost beside 500 seen" in text
    assert "cut.arrows: the recorder did not end in order" in text


# Bugs: after taken for before; runs of both sides mixed; three recordings compared at random.
@pytest.mark.parametrize(
    ("names", "before"),
    [
        (["x", "y"], ["x"]),
        (["after", "before"], ["before"]),
        (["before-1", "after-1", "before-2"], ["before-1", "before-2"]),
        (["a", "b", "c", "d"], ["a", "b"]),
        (["before-1", "before-2"], ["before-1"]),
        (["a", "b", "c"], None),
        (["a"], None),
        ([], None),
    ],
)
def test_sides(tmp_path: Path, names: list[str], before: list[str] | None) -> None:
    runs = [(name, load(accepts(tmp_path / name, 1, 1))) for name in names]
    sides = split_sides(runs)
    assert (sides and [name for name, _ in sides[0]]) == before
    if sides:
        assert sorted(name for side in sides for name, _ in side) == sorted(names)


# Bug: recordings of two kinds, or three of one, are given to be compared; nothing is, and neither
# the console nor the page says so.
def test_what_is_not_compared_is_said(tmp_path: Path) -> None:
    one, two = (accepts(tmp_path / f"{name}.arrows", 500, 0.5) for name in "ab")
    other = packets(tmp_path / "p.arrows", 20, 0.5)
    told: list[str] = []
    write_report([one, other], tmp_path / "1.md", format="md", tell=told.append)
    assert told == [
        "a.arrows is not compared: it is the only recording of accept",
        "p.arrows is not compared: it is the only recording of skb",
    ]
    assert all(line in (tmp_path / "1.md").read_text() for line in told)
    told.clear()
    write_report([one, two, other], tmp_path / "2.md", format="md", tell=told.append)
    assert told == ["p.arrows is not compared: it is the only recording of skb"]
    told.clear()
    three = accepts(tmp_path / "c.arrows", 500, 0.5)
    write_report([one, two, three], tmp_path / "3.md", format="md", tell=told.append)
    (line,) = told
    assert line.startswith("3 recordings of accept are not compared (a.arrows, b.arrows, c.arrows)")
    told.clear()
    write_report([one], tmp_path / "4.md", format="md", tell=told.append)
    write_report([one, two], tmp_path / "5.md", format="md", tell=told.append)
    assert told == []


# Bug: a recording that carries a label is sorted by the name its file was given later.
def test_a_label_goes_before_the_file_name(tmp_path: Path) -> None:
    labels = {"before": "after attach", "after": "before"}
    runs = [
        (name, load(accepts(tmp_path / name, 1, 1, label=label))) for name, label in labels.items()
    ]
    sides = split_sides(runs)
    assert sides
    assert [name for name, _ in sides[0]] == ["after"]


# Bugs: -o destroys what it reports on; a disk that refuses ends in a traceback.
def test_what_cannot_be_written(tmp_path: Path) -> None:
    recording = accepts(tmp_path / "one.arrows", 1, 0.5)
    before = recording.read_bytes()
    with pytest.raises(LocalityError, match="is one of the recordings"):
        write_report([recording], tmp_path / "." / "one.arrows")
    assert recording.read_bytes() == before
    with pytest.raises(LocalityError, match=r"cannot write .*none"):
        write_report([recording], tmp_path / "none" / "r.html")
    with pytest.raises(LocalityError, match=r"cannot write .*one.arrows"):
        write_report([recording], tmp_path / "r.html", figures=recording / "x")


# Bug: a link that leads to itself, as a recording or as the report, is a traceback.
def test_links_in_a_circle(tmp_path: Path) -> None:
    recording, circle = accepts(tmp_path / "one.arrows", 1, 0.5), tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(LocalityError, match=r"cannot read .*circle"):
        write_report([circle], tmp_path / "r.html")
    with pytest.raises(LocalityError, match=r"cannot write .*circle"):
        write_report([recording], circle)


# Bugs: an earlier report is lost without a word; everybody can read who talked to whom.
def test_an_earlier_report_is_kept(tmp_path: Path) -> None:
    recording, out = accepts(tmp_path / "one.arrows", 1, 0.5), tmp_path / "r.html"
    out.write_text("earlier")
    with pytest.raises(LocalityError, match="--force replaces it"):
        write_report([recording], out)
    assert out.read_text() == "earlier"
    write_report([recording], out, force=True)
    assert out.stat().st_mode & 0o777 == 0o600


# Bugs: reading prints where nobody waits or watches; a name acts on the terminal, or is taken
# for rich's markup.
def test_progress_is_for_long_waits_at_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = accepts(tmp_path / "a[red]\x1b[2J.arrows", 1, 1)
    for terminal, patience, expected in (("0", -1, 0), ("1", 1000, 0), ("1", -1, 1)):
        monkeypatch.setenv("TTY_COMPATIBLE", terminal)
        monkeypatch.setattr("locality.recording.progress.PATIENCE_S", patience)
        (tmp_path / "report.html").unlink(missing_ok=True)
        report(tmp_path, recording)
        told = capsys.readouterr().err
        assert ("reading a[red]\\x1b[2J" in told) == bool(expected)
        assert bool(told) == bool(expected)
        assert "\x1b[2J" not in told


# Bug: two recordings of one name cannot be told from each other.
def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, two = (accepts(tmp_path / name / "run.arrows", 1, 1) for name in ("a", "b"))
    text = report(tmp_path, one, two).text
    assert str(one) in text
    assert str(two) in text


# Bug: some text somewhere is not escaped: it opens a tag, a link, a picture or a cell.
@given(st.text(min_size=1, max_size=20))
def test_any_text_is_text(text: str) -> None:
    page = Page(text, (Section(text, (text, Table((text,), ((text,),)))),))
    assert Reader(html(page)).tags == Reader(html(PLAIN)).tags
    lines = re.sub(r"\\.", "", markdown(page, {})).splitlines()
    assert len(lines) == len(markdown(PLAIN, {}).splitlines())
    assert not re.search(r"[<>`*_\[\]$]", "\n".join(lines))


PLAIN = Page("x", (Section("x", ("x", Table(("x",), (("x",),)))),))
