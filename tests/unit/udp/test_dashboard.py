"""The dashboard of `locality udp`, drawn into memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import ConsoleDimensions

from locality.dashboard.screen import Header
from locality.udp.dashboard import UdpDashboard
from tests.unit.accept.test_text import HOSTILE
from tests.unit.dashboard.test_screen import machine, screen, terminal
from tests.unit.udp_intervals import flows, interval, readers, sockets

if TYPE_CHECKING:
    from pathlib import Path

HEADER = Header("host", "6.18", "fentry", "port 5000")


# Bugs: the last interval instead of the sum, or the sum instead of the last; a single flow that
# the screen does not tell of; the matrix the other way round.
def test_the_udp_screen() -> None:
    console = terminal(100, 40)
    dashboard = UdpDashboard(machine(2), HEADER, console)
    assert "not over yet" in screen(dashboard, console)
    rows = sockets(4000, 0, 0, 0, local=[1000, 0, 0, 0], drops=[7, 0, 0, 0])
    matrix = np.array([[1000, 3000], [0, 0]], "u8")
    dashboard.write(interval(rows, matrix=matrix, flows=flows(90, 10)))
    later = sockets(1000, 0, 0, 0, local=[1000, 0, 0, 0])
    dashboard.write(interval(later, matrix=matrix, flows=flows(90, 10), lost=3))
    text = screen(dashboard, console)
    lines = text.splitlines()
    assert lines[0].endswith("0:00:02")
    assert lines[1].endswith("3 lost")
    assert re.search(r"now +1000 pps  local 100\.0%  dropped 0", text)
    assert re.search(r"since the start +2500 pps  local 40\.0%  dropped 7", text)
    assert "udp 0.0.0.0:5000, 4 sockets, 1.0 kpps, max/mean 4.00, effective 1.00" in text
    assert "one flow carries 90.0%" in text
    assert "cure: locality attach-cbpf --port 5000 --program random" in text
    assert re.search(r"#0 +25 +75 +100", text)


# Bugs: the second figure is missing, or stands where it says nothing more.
def test_datagrams_that_were_handed_on() -> None:
    console = terminal(100, 40)
    dashboard = UdpDashboard(machine(2), HEADER, console)
    dashboard.write(interval(sockets(1000, rx_known=1000, rx_local=500)))
    assert "processed" not in screen(dashboard, console)
    dashboard.write(interval(sockets(1000, rx_known=1000, rx_local=1000, moved=1000)))
    text = screen(dashboard, console)
    assert re.search(r"now +1000 pps  local 0\.0%  where processed 100\.0%  dropped 0", text)
    assert re.search(r"since the start +1000 pps  local 0\.0%  where processed 75\.0%", text)
    assert "read on the CPU that processed them: 100.0%; 100.0% had been" in text


# Bugs: figures cut off, or a crash, where the terminal is small or sockets are many.
@pytest.mark.parametrize("size", [(40, 10), (80, 24), (300, 90), (20, 3)])
@pytest.mark.parametrize("members", [0, 1, 4, 200])
def test_every_size(size: tuple[int, int], members: int) -> None:
    console = terminal(100, 30)
    dashboard = UdpDashboard(machine(2), HEADER, console)
    dashboard.write(interval(sockets(*range(1, members + 1)), flows=flows(99)))
    console.size = ConsoleDimensions(*size)
    lines = screen(dashboard, console).splitlines()
    assert len(lines) <= size[1]
    assert max(map(cell_len, lines)) <= size[0]


# Bug: a name reaches the terminal or the picture with its escape bytes, or as markup.
@pytest.mark.parametrize("comm", HOSTILE)
def test_names_are_data(comm: bytes, tmp_path: Path) -> None:
    console = terminal(80, 24)
    dashboard = UdpDashboard(machine(2), HEADER, console)
    rows = sockets(10)
    dashboard.write(interval(rows, readers=readers(rows, comm=comm)))
    assert screen(dashboard, console).replace("\n", "").isprintable()
    picture = tmp_path / "screen.svg"
    dashboard.save_svg(picture)
    assert "<script" not in picture.read_text()
