"""The dashboards as people see them: in a terminal of 80x24, of 200x50, and of one that changes.

The terminal is tmux. What is checked are figures, not where they stand.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.helpers.traffic import CPUS, HERE, PATIENCE, THERE, connect_and_accept, in_thread
from tests.live.helpers.traffic import tcp_ping_pong as ping_pong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.live

SIZES = [(80, 24), (200, 50)]
#: What the dashboards' shell says before and after.
BEFORE, AFTER = "what was here before", "ended with"


@dataclass(frozen=True)
class Terminal:
    """One window of a tmux server of its own."""

    socket: Path

    def tmux(self, *arguments: object) -> str:
        answer = subprocess.run(
            ["tmux", "-u", "-f", "/dev/null", "-S", self.socket, *map(str, arguments)],
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return answer.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def until(self, *patterns: str) -> str:
        """The first screen that has them all."""
        deadline = time.monotonic() + PATIENCE
        while True:
            screen = self.screen()
            missing = [one for one in patterns if not re.search(one, screen, re.MULTILINE)]
            if not missing:
                return screen
            assert time.monotonic() < deadline, f"{missing} not on the screen:\n{screen}"
            time.sleep(0.1)

    def state(self, name: str) -> str:
        return self.tmux("display-message", "-p", f"#{{{name}}}").strip()


@contextmanager
def terminal(width: int, height: int, *arguments: object) -> Iterator[Terminal]:
    """A locality command in a terminal; its probes are attached."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    # Not tmp_path: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory() as directory:
        ready = Path(directory) / "ready"
        words = [sys.executable, "-m", "locality", *arguments, "--ready-file", ready]
        command = shlex.join(map(str, words))
        # The shell must outlive the Ctrl-C that ends the command.
        script = f"trap : INT; clear; echo {BEFORE}; {command}; echo {AFTER} $?; exec sleep 1000"
        window = Terminal(Path(directory) / "tmux")
        window.tmux("new-session", "-d", "-x", width, "-y", height, "sh", "-c", script)
        try:
            deadline = time.monotonic() + PATIENCE
            while not ready.exists():
                assert time.monotonic() < deadline, window.screen()
                assert AFTER not in window.screen(), window.screen()
                time.sleep(0.05)
            yield window
        finally:
            window.tmux("kill-server")


def interrupted(window: Terminal) -> str:
    """The screen after Ctrl-C; the terminal is as it was, and shows nothing of the dashboard."""
    assert window.state("alternate_on") == "1"
    window.tmux("send-keys", "C-c")
    screen = window.until(rf"^{AFTER} \d+$")
    assert f"{AFTER} 0" in screen
    assert BEFORE in screen
    assert window.state("alternate_on") == "0"
    assert window.state("cursor_flag") == "1"
    assert "last minute" not in screen
    assert "alloc\\consume" not in screen
    return screen


@contextmanager
def again_and_again(work: Callable[[], object]) -> Iterator[None]:
    """Work that is repeated beside the block."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.02):
            work()

    with in_thread(repeat):
        try:
            yield
        finally:
            over.set()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as one:
        yield one


# Bugs: figures that are not those of the traffic; a screen that scrolls; a terminal that is left
# on its other screen or without a cursor; no summary after Ctrl-C.
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_accepts_on_a_screen(
    width: int, height: int, listener: socket.socket, tmp_path: Path
) -> None:
    port, picture = listener.getsockname()[1], tmp_path / "last.svg"
    known = 0

    def connect() -> None:
        nonlocal known
        known += len(connect_and_accept(listener, 20))

    options = ("--live", "--port", port, "--svg", picture)
    with terminal(width, height, "accept", *options) as window:
        with again_and_again(connect):
            local = "0.00%" if len(CPUS) > 1 else "100.00%"
            screen = window.until(
                rf"filter: port {port}.* 0 lost$",
                r"connections/s +[1-9]\S* +\d+ since",
                rf"accept-local +{re.escape(local)}",
                r"last minute .*[▁█]{2}",
                r"queue wait +p50 \d",
                rf" {os.getpid()} +#{THERE} +[1-9]",
                r"RX CPU \\ accept CPU",
            )
            lines = screen.splitlines()
            assert len(lines) <= height
            assert "locality accept" in lines[0]
            assert re.search(r"0:00:\d\d$", lines[0])
        # All of it has been shown once a second without connections has been.
        window.until(rf"connections/s +0 +{known} since")
        screen = interrupted(window)
    assert f"{known} accepted, {local} accept-local, 0 lost" in screen
    assert str(known) in picture.read_text()


# Bugs: the dashboard shows other counts than there were; a pair of CPUs in the wrong order.
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_packets_on_a_screen(width: int, height: int) -> None:
    with terminal(width, height, "skb", "--live") as window:
        with again_and_again(lambda: ping_pong(HERE, THERE, 500)):
            pairs = [rf"x +#{HERE} → #{THERE} +\d\S* pps", rf"x +#{THERE} → #{HERE} +\d\S* pps"]
            screen = window.until(
                r"received +\d+\.\d% +\d+\.\d ",
                r"sent +\S+ +\d+\.\d ",
                r"rx local.*[▁▂▃▄▅▆▇█]{2}",
                r"rx alloc\\consume",
                *(pairs if len(CPUS) > 1 else ["worst CPU pairs"]),
            )
        found = re.search(r"received +(\d+\.\d)% +(\d+\.\d)", screen)
        assert found
        assert float(found[2]) > 0
        assert len(screen.splitlines()) <= height
        screen = interrupted(window)
    assert re.search(r"received: \d+ packets", screen)


# Bugs: a screen that keeps its first size; a resize that ends the run, as a signal would.
def test_a_terminal_that_changes_its_size() -> None:
    with terminal(80, 24, "skb", "--live", "--interval", 600) as window:
        window.until(r"0 lost$")
        for width, height in ((132, 40), (60, 12), (100, 30)):
            window.tmux("resize-window", "-x", width, "-y", height)
            # The clock stands at the right edge.
            screen = window.until(rf"^locality skb.{{{width - 19}}}\d:\d\d:\d\d$")
            assert len(screen.splitlines()) <= height
        interrupted(window)


# Bug: the refusal names no way out, or escape sequences reach a file.
@pytest.mark.parametrize("command", ["accept", "skb"])
def test_no_terminal(command: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "locality", command, "--live", "--duration", "1"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert "\x1b" not in answer.stderr
    for format_ in ("text", "classic", "json", "csv"):
        assert format_ in answer.stderr.splitlines()[-1]
