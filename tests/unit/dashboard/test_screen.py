"""The dashboards on consoles of a known size, and what they are put together from."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.dashboard import AcceptDashboard
from locality.accept.recent import WINDOW, RecentAccepts
from locality.dashboard.frame import amount, column
from locality.dashboard.heatmap import figure, group_cpus, heat_map, label
from locality.dashboard.screen import Header
from locality.dashboard.sparkline import HEIGHTS, SECONDS, Minute, sparkline
from locality.errors import LocalityError
from locality.machine.topology import Distance, Topology
from locality.skb.dashboard import SkbDashboard, worst_pairs
from locality.skb.interval import RX, TX, Flow, Interval

if TYPE_CHECKING:
    from pathlib import Path

    from locality.dashboard.screen import Dashboard

SIZES = [(80, 24), (200, 50)]
HEADER = Header("box", "6.18.0", "fentry", "comm nginx", "not seen: a figure")
HOSTILE = [
    b"[red]",
    b"<script>",
    b"\x1b[31mx",
    b"[/]",
    b"\x9b31m",
    "界世界世界".encode(),
    b"a\nb\rc",
]
SECOND = 10**9


def machine(cpus: int, core: int = 1, llc: int = 8, node: int = 16) -> Topology:
    """CPUs of which so many neighbours share a core, a cache, a node."""
    number = np.arange(cpus)
    distances = np.full((cpus + 1, cpus + 1), Distance.REMOTE, np.uint8)
    levels = ((node, Distance.NODE), (llc, Distance.LLC), (core, Distance.CORE))
    for size, distance in (*levels, (1, Distance.CPU)):
        together = np.equal.outer(number // size, number // size)
        distances[:cpus, :cpus][together] = distance
    distances[cpus, :] = distances[:, cpus] = Distance.UNKNOWN
    return Topology(cpus, tuple(range(cpus)), distances)


def terminal(width: int, height: int, *, colour: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system="truecolor" if colour else None,
        _environ={},
    )


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def screen(dashboard: Dashboard[Any], console: Console) -> str:
    """One frame; whatever was printed before is not part of it."""
    console.file = io.StringIO()
    console.print(dashboard, end="")
    return printed(console)


def batch(second: float, count: int = 1, lost: int = 0, **fields: Any) -> AcceptBatch:  # noqa: ANN401 - any value of a record
    """Connections that were accepted at a time, alike or different in a field given as a list."""
    records = np.zeros(count, ACCEPT)
    records["time"] = 5 * SECOND + int(second * SECOND)
    ordinary = {"comm": b"nginx", "pid": 29333, "flags": WAIT_KNOWN, "wait": 20_000}
    for name, value in {**ordinary, **fields}.items():
        records[name] = value
    return AcceptBatch(records, clock_offset=0, lost=lost)


def interval(matrix: Any, seconds: float = 1.0, **fields: Any) -> Interval:  # noqa: ANN401 - see Interval
    """What follows from a matrix; nothing unknown unless a field says so."""
    counts = np.asarray(matrix, np.int64)
    flows = [Flow(int(one.sum()), int(np.trace(one)), int(np.trace(one)), 0, 0) for one in counts]
    ordinary = {"lost": 0, "rx": flows[RX], "tx": flows[TX], "delivered": 0, "delivered_local": 0}
    return Interval(
        time=1e9, seconds=seconds, rung="fentry", by_pair=counts, **{**ordinary, **fields}
    )


def accepts_of_two_workers(dashboard: AcceptDashboard) -> None:
    """In the second that is shown: 300 accepts, 100 of them local, on each of two CPUs."""
    local = [1] * 100 + [0] * 200
    for second in (0.5, 1.5):
        dashboard.write(batch(second, 300, pid=111, cpu=1, rxcpu=[[0, 1][one] for one in local]))
        dashboard.write(
            batch(second, 300, comm=b"other", pid=222, cpu=0, rxcpu=[[-1, 0][one] for one in local])
        )
    dashboard.write(batch(2.5, 7, lost=3))


# Bugs: a figure that is not on the screen; a line that is wider than it, or one line too many,
# which makes a terminal scroll.
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_accept_screen(width: int, height: int) -> None:
    console = terminal(width, height)
    dashboard = AcceptDashboard(machine(2), HEADER, console)
    accepts_of_two_workers(dashboard)
    text = screen(dashboard, console)
    lines = text.splitlines()
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert "box  6.18.0  rung fentry" in lines[0]
    assert lines[0].endswith("0:00:02")
    assert "comm nginx" in lines[1]
    assert lines[1].endswith("3 lost")
    assert lines[2] == HEADER.note
    # 1207 with the seven of the second that is running.
    assert re.search(r"connections/s +600 +1207 since the start", text)
    assert re.search(r"accept-local +33\.33% +33\.7\d% since", text)
    assert HEIGHTS[2] * 2 in text
    assert re.search(r"queue wait +p50 \d+\.\dus +p90 .*p99 .*p99\.9 .*last 2 s", text)
    assert re.search(r"nginx +111 +#1 +300 +33\.3% +#0 100%", text)
    assert re.search(r"other +222 +#0 +300 +33\.3% +\? 100%", text)
    # Rows by RX CPU: all of #0's were divided between the CPUs, and #1's all were accepted on #1.
    assert "RX CPU \\ accept CPU" in text
    assert re.search(r"#0 +33 +66 +50", text)
    assert re.search(r"#1 +· +100 +16", text)
    assert re.search(r"\? +100 +· +33", text)


# Bugs: shares of all since the start; no RX CPU taken for a near one; 0 % of nothing.
def test_accepts_by_distance() -> None:
    console = terminal(80, 24)
    dashboard = AcceptDashboard(machine(2), HEADER, console)
    assert re.search(r"distance +-\n", screen(dashboard, console))
    dashboard.write(batch(0.5, 1000, cpu=1, rxcpu=0))
    dashboard.write(batch(30.5, 10, cpu=1, rxcpu=[1] * 7 + [0] * 2 + [-1]))
    dashboard.write(batch(31.5, 0))
    dashboard.write(batch(31.5, 1, cpu=1, rxcpu=1))
    assert re.search(
        r"distance +cpu 70\.0% llc 20\.0% unknown 10\.0%\n", screen(dashboard, console)
    )


# Bugs: received and sent swapped, a figure that was not seen printed as one, - and ? mixed up.
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_skb_screen(width: int, height: int) -> None:
    console = terminal(width, height)
    dashboard = SkbDashboard(machine(2), HEADER, console)
    rx, tx = [[600, 200], [100, 100]], [[0, 2_500], [0, 0]]
    dashboard.write(
        interval(
            [rx, tx],
            rx=Flow(1_100, 700, 900, None, 100),
            tx=Flow(2_500, 0, 250, 1_000, 0),
            delivered=800,
            delivered_local=200,
            lost=4,
            apart=(0, 70),
        )
    )
    dashboard.write(interval([rx, tx], rx=Flow(1_000, 500, 900, None, 0), delivered=None))
    text = screen(dashboard, console)
    lines = text.splitlines()
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert lines[0].endswith("0:00:02")
    assert lines[1].endswith("0 lost")
    assert re.search(r"received +50\.0% +1\.0 +\? +90\.0% +\? +60\.0% of 2100", text)
    assert re.search(r"sent +0\.0% +2\.5 +0\.0% +0\.0% +0\.0% of 5000", text)
    assert re.search(rf"rx local +{HEIGHTS[5]}{HEIGHTS[4]} ", text)
    assert re.search(rf"tx local +{HEIGHTS[0]}{HEIGHTS[0]} ", text)
    assert re.search(r"#0 +75 +25 +80 +#0 +· +100 +100", text)
    assert re.search(r"#1 +50 +50 +20 +#1 +· +· +·", text)
    assert "tx, not known on which CPUs: 35 pps on two, 0 pps on one" in text
    # Where the maps do not need the room. Of 2000 received twice 300 were consumed elsewhere.
    assert ("rx far   cpu 70.0% llc 30.0%\n" in text) == (height > 24)
    assert ("tx far   cpu 0.0% llc 98.6% unknown 1.3%\n" in text) == (height > 24)
    pairs = text[text.index("worst CPU pairs") :].splitlines()[1:]
    assert [pair.split()[:5] for pair in pairs] == [
        ["tx", "#0", "→", "#1", "2500"],
        ["rx", "#0", "→", "#1", "200"],
        ["rx", "#1", "→", "#0", "100"],
    ]
    assert pairs[1].split()[-4:] == ["19.0%", "of", "rx", "llc"]


# Bug: 0 % where there was nothing to be a share of; a crash before the first interval.
def test_nothing_has_happened_yet() -> None:
    console = terminal(80, 24)
    packets = SkbDashboard(machine(2), HEADER, console)
    assert "not over yet" in screen(packets, console)
    packets.write(interval(np.zeros((2, 2, 2)), tx=Flow(10, None, None, None, 0)))
    text = screen(packets, console)
    assert re.search(r"received +- +0\.0 +- +- +- +- of 0", text)
    assert re.search(r"sent +\? +0\.0 +\? +\? +\? of 10", text)
    assert "none: no packet" in text
    accepts = AcceptDashboard(machine(2), HEADER, console)
    assert "connections/s" in screen(accepts, console)
    accepts.write(batch(0, 0))
    text = screen(accepts, console)
    assert re.search(r"connections/s +0 +0 since", text)
    assert re.search(r"accept-local +- +\? since", text)
    assert "p50 -" in text


# Bug: a name is taken for markup or reaches the terminal or the picture with its escape bytes.
@pytest.mark.parametrize("comm", HOSTILE)
def test_names_are_data(comm: bytes, tmp_path: Path) -> None:
    evil = comm.decode(errors="replace")
    console = terminal(80, 24, colour=True)
    header = Header(evil, evil, evil, evil, evil)
    dashboard = AcceptDashboard(machine(2), header, console)
    dashboard.write(batch(0.1, 5, comm=comm))
    text = screen(dashboard, console)
    without_style = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in without_style
    assert all(character.isprintable() or character == "\n" for character in without_style)
    assert max(map(cell_len, without_style.splitlines())) <= 80
    # Red is not on this screen: a few accepts, all local, none lost.
    assert "\x1b[31m" not in text
    worker = next(line for line in without_style.splitlines() if "29333" in line)
    if comm.isascii() and comm.decode().isprintable():
        assert worker.startswith(comm.decode() + " ")
    picture = tmp_path / "screen.svg"
    dashboard.save_svg(picture)
    assert "<script" not in picture.read_text()
    assert "\x1b" not in picture.read_text()


# Bug: the picture makes its viewer fetch a font, or is not what the screen showed.
def test_the_last_frame_as_a_picture(tmp_path: Path) -> None:
    console = terminal(80, 24)
    dashboard = AcceptDashboard(machine(2), HEADER, console)
    accepts_of_two_workers(dashboard)
    dashboard.save_svg(tmp_path / "screen.svg")
    picture = (tmp_path / "screen.svg").read_text()
    assert "@font-face" not in picture
    assert "33.33%" in picture
    assert "locality&#160;accept" in picture
    assert not re.search(r"https?://(?!www\.w3\.org|www\.textualize\.io)", picture)
    with pytest.raises(LocalityError, match="cannot write"):
        dashboard.save_svg(tmp_path / "absent" / "screen.svg")


# Bugs: the alternate screen or a hidden cursor is left behind; what was written is never drawn.
def test_the_terminal_is_given_back() -> None:
    console = terminal(80, 24)
    with AcceptDashboard(machine(2), HEADER, console) as dashboard:
        accepts_of_two_workers(dashboard)
    text = printed(console)
    assert text.index("\x1b[?1049h") < text.rindex("\x1b[?1049l")
    assert text.rindex("\x1b[?25l") < text.rindex("\x1b[?25h")
    assert "connections/s" in text
    assert not dashboard._thread.is_alive()  # noqa: SLF001 - nothing draws after the end


class Gone(io.StringIO):
    """A terminal that hangs up after the first frame."""

    def __init__(self) -> None:
        super().__init__()
        self.there = True

    def write(self, text: str) -> int:
        if not self.there:
            raise OSError(5, "Input/output error")
        return super().write(text)


# Bug: the drawing thread dies with a traceback and the run goes on unseen.
def test_a_terminal_that_has_gone_ends_the_run() -> None:
    file = Gone()
    console = Console(file=file, width=80, height=24, force_terminal=True, _environ={})
    dashboard = AcceptDashboard(machine(2), HEADER, console)
    with dashboard:
        file.there = False
        dashboard.write(batch(0.1))
        dashboard._thread.join(30)  # noqa: SLF001 - it ends by itself
        with pytest.raises(OSError, match="Input/output"):
            dashboard.write(batch(0.2))
        file.there = True


# Bug: a frame of the size that the terminal had before; figures cut off when it is narrow.
@pytest.mark.parametrize("size", [(40, 10), (80, 24), (119, 24), (120, 30), (300, 90), (20, 3)])
@pytest.mark.parametrize("cpus", [1, 2, 8, 64, 200])
def test_every_size(size: tuple[int, int], cpus: int) -> None:
    console = terminal(100, 30)
    chance = np.random.default_rng(2017)
    accepts = AcceptDashboard(machine(cpus), HEADER, console)
    worker = chance.integers(cpus, size=500)
    for second in (0.1, 1.1):
        accepts.write(
            batch(second, 500, cpu=worker, pid=100 + worker, rxcpu=chance.integers(cpus, size=500))
        )
    packets = SkbDashboard(machine(cpus), HEADER, console)
    packets.write(interval(chance.integers(100, size=(2, cpus, cpus)), apart=(5, 5)))
    console.size = ConsoleDimensions(*size)
    for dashboard in (accepts, packets):
        lines = screen(dashboard, console).splitlines()
        assert len(lines) <= size[1]
        assert max(map(cell_len, lines)) <= size[0]


# Bug: a latin-1 or C terminal ends the run with an encoding error.
@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_terminal_without_unicode(encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=80, height=24, force_terminal=True, _environ={})
    dashboard = AcceptDashboard(machine(2), HEADER, console)
    accepts_of_two_workers(dashboard)
    dashboard.write(batch(3.5, comm="界".encode()))
    console.print(dashboard, end="")
    file.flush()
    assert b"accept-local" in raw.getvalue()
    assert b"..~" not in raw.getvalue()


# Bugs: connections counted in the second in which they were read; a late record lost or counted
# for the wrong second; an old second that is never forgotten.
def test_seconds_are_those_of_the_records() -> None:
    now = 0
    recent = RecentAccepts(lambda: now)
    assert recent.write(batch(0.0, 10))
    recent.write(batch(0.9, 20, cpu=1, rxcpu=0))
    assert recent.view.rate == pytest.approx(30 / 0.9)
    # One reading brings what happened in three seconds, out of order.
    times = np.array([5 * SECOND + int(at * SECOND) for at in (2.1, 0.95, 1.5, 1.6)], np.uint64)
    assert recent.write(batch(0, 4, time=times))
    assert recent.view.rate == 2
    assert recent.view.minute[-2:] == [pytest.approx(100 * 11 / 31), 100.0]
    assert recent.view.total == 34
    assert not recent.write(batch(2.2))
    # Without connections time goes on by the clock.
    now = 20 * SECOND
    assert recent.write(batch(0, 0))
    assert recent.view.rate == 0
    assert recent.view.local is None
    assert recent.view.elapsed == pytest.approx(22.2)
    assert recent.view.seconds == WINDOW
    assert not len(recent.view.cells.keys)
    assert recent.view.names == {}
    assert recent.view.total == 35


# Bug: the last of the packed fields spills into its neighbour.
def test_cells_keep_pid_and_cpus_apart() -> None:
    recent = RecentAccepts(lambda: 0)
    recent.write(batch(0, 3, pid=(1 << 22) - 1, cpu=[8191, 0, 0], rxcpu=[-1, 8191, 0]))
    cells = recent.view.cells
    assert set(cells.pid.tolist()) == {(1 << 22) - 1}
    pairs = zip(cells.cpu.tolist(), cells.rxcpu.tolist(), strict=True)
    assert set(pairs) == {(8191, -1), (0, 8191), (0, 0)}
    assert cells.local == 1


# Bugs: a scale that depends on the data; 100 % beyond the last height; an empty second shown as 0.
def test_a_sparkline() -> None:
    assert sparkline([None, 0.0, 12.4, 12.5, 99.9, 100.0]) == " ▁▁▂██"
    minute = Minute()
    minute.add_span(0.5, 3.0, 25, 50)
    assert minute.at(0) == pytest.approx((5, 10))
    assert minute.at(2) == pytest.approx((10, 20))
    assert minute.at(3) == (0, 0)
    assert minute.percents(3)[-4:] == [50, 50, 50, None]
    # A very long interval: no more seconds than are shown.
    minute.add_span(10, 1e6, 1, 1)
    assert minute.percents(999_999) == [pytest.approx(100)] * SECONDS
    assert len(minute._seconds) <= SECONDS + 1  # noqa: SLF001 - memory must not grow


# Bugs: grouping although there is room; a coarser level than needed; one group of everything.
@pytest.mark.parametrize(
    ("topology", "most", "level", "groups"),
    [
        (machine(8), 8, "CPU", 8),
        (machine(8, core=2), 7, "core", 4),
        (machine(64, core=2), 20, "LLC", 8),
        (machine(64, core=2), 5, "NUMA node", 4),
        (machine(64, core=2), 3, "neighbours", 3),
        (machine(16, llc=16), 6, "neighbours", 6),
        (machine(1), 1, "CPU", 1),
    ],
)
def test_cpus_are_grouped(topology: Topology, most: int, level: str, groups: int) -> None:
    grouping = group_cpus(topology, topology.online, most)
    assert (grouping.level, len(grouping.groups)) == (level, groups)
    assert sorted(cpu for group in grouping.groups for cpu in group) == list(topology.online)


# Bugs: packets fall out when CPUs are grouped; a CPU that went offline takes its packets along.
def test_a_grouped_heat_map() -> None:
    counts = np.zeros((9, 8), np.int64)
    counts[0, 1], counts[1, 6], counts[7, 0], counts[8, 3] = 30, 10, 20, 40
    topology = machine(8, core=2, llc=4)
    topology = Topology(8, (0, 1, 2, 3, 4, 5), topology.distances)
    lines = heat_map(counts, topology, "a map", width=40, height=7)
    rows = ["".join(segment.text for segment in line).split() for line in lines]
    assert rows[0][-1] == "core"
    assert rows[1] == ["#0", "#2", "#4", "#6", "all"]
    assert rows[2] == ["#0-1", "75", "·", "·", "25", "40"]
    assert rows[5] == ["#6-7", "100", "·", "·", "·", "20"]
    assert rows[6] == ["?", "·", "100", "·", "·", "40"]


# Bug: rounding makes local what is not; a CPU list that cannot be read.
def test_small_words() -> None:
    assert [figure(value) for value in (0, 0.2, 99.9, 100.0)] == ["·", "<1", "99", "100"]
    assert [label(cpus) for cpus in ((3,), (0, 1, 2), (0, 32))] == ["#3", "#0-2", "#0,32"]
    assert [amount(value) for value in (0, 9_999, 98_240, 999_960, 2.5e9)] == [
        *("0", "9999", "98.2k", "1.0M"),
        "2.5G",
    ]
    assert column("界世界", 4) == "界 …"
    assert cell_len(column("abc", 5)) == 5


# Bug: local packets among the worst pairs, or a pair of the wrong direction.
def test_worst_pairs() -> None:
    rx, tx = [[900, 1], [2, 900]], [[900, 3], [0, 900]]
    pairs = worst_pairs(interval([rx, tx]), 2)
    assert [(pair.direction, pair.alloc_cpu, pair.consume_cpu, pair.packets) for pair in pairs] == [
        (TX, 0, 1, 3),
        (RX, 1, 0, 2),
    ]
    assert len(worst_pairs(interval([rx, tx]), 10)) == 3
