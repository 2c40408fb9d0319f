"""Ctrl-C at moments at which an exception would be lost, or be a traceback."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.commands.interrupts import raising

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60

# Press Ctrl-C when a module begins to be imported, and when the program is at its end.
AT_IMPORT = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
"""
AT_EXIT = """
import atexit, os, signal
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
"""
PROGRAM = "import runpy, sys; sys.argv = ['locality', '--help']; "
AS_MODULE = PROGRAM + "runpy.run_module('locality', run_name='__main__')\n"
AS_COMMAND = PROGRAM + "from locality.__main__ import main; main()\n"


# Bug: Ctrl-C while the program starts or ends is a traceback of Python's: 30 of 240 times.
@pytest.mark.parametrize("start", [AS_MODULE, AS_COMMAND])
@pytest.mark.parametrize("press", [AT_IMPORT, AT_EXIT])
def test_starting_and_ending(press: str, start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", press + start],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


# Bug: the installed command starts elsewhere, where nothing of the above is done.
def test_the_installed_command_starts_there() -> None:
    project = Path(__file__).parents[3] / "pyproject.toml"
    assert 'locality = "locality.__main__:main"' in project.read_text()


# Bug: a program in the background, which the shell keeps from Ctrl-C, is ended by it.
def test_ignored_stays_ignored() -> None:
    script = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    done = subprocess.run(
        [sys.executable, "-c", script + AT_IMPORT + AS_COMMAND],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def interrupted_after(action: Callable[[], object]) -> bool:
    """Whether Ctrl-C, pressed during an action, interrupts what comes after it."""
    try:
        with raising():
            action()
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                time.sleep(0.001)
    except KeyboardInterrupt:
        return True
    return False


# Bug: an interrupt within a callback of libbpf is printed and forgotten, and the command goes on,
# on a worse rung than it could have.
def test_within_a_callback(capfd: pytest.CaptureFixture[str]) -> None:
    def compare(_one: int, _other: int) -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compare)
    numbers = (ctypes.c_int * 2)(2, 1)
    sort = ctypes.CDLL(None).qsort
    assert interrupted_after(lambda: sort(numbers, 2, ctypes.sizeof(ctypes.c_int), callback))
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


# Bug: an extension module makes "cannot be imported" of it, in ten lines.
def test_within_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "interrupted_one.py").write_text(
        "import signal\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    raise ImportError from None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert interrupted_after(lambda: import_module("interrupted_one"))
    assert "interrupted_one" in sys.modules
