"""What a start of the command line does not do. How long it takes is in benchmarks/start.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def told_by(script: str, **environment: str) -> list[str]:
    """What a Python of its own prints on its last line; what is set here is not inherited."""
    inherited = {name: value for name, value in os.environ.items() if "OPENBLAS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()[-1].split()


THREADS = """
import atexit, ctypes, os, sys
from locality.cli import OPENBLAS_THREADS, main
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
def told():
    print((getenv(OPENBLAS_THREADS.encode()) or b"none").decode(), os.environ.get(OPENBLAS_THREADS))
atexit.register(told)
"""


# Bugs: numpy starts a thread on each CPU for linear algebra that hardly anything needs, half of its
# import; what the user chose is overwritten; the commands of a trial are run with our choice, for
# they have os.environ; who imports the package has it chosen for everything else.
@pytest.mark.parametrize(
    ("script", "chosen", "told"),
    [
        ("sys.argv = ['locality', '--help']; main()", {}, ["1", "None"]),
        ("sys.argv = ['locality', '--help']; main()", {"OPENBLAS_NUM_THREADS": "3"}, ["3", "3"]),
        ("import locality; locality.load", {}, ["none", "None"]),
    ],
)
def test_numpy_has_one_thread_where_nobody_chose(
    script: str, chosen: dict[str, str], told: list[str]
) -> None:
    assert told_by(THREADS + script, **chosen) == told


# Bug: the garbage collector looks at what imports make, again and again, and at all of it at the
# end: a tenth of a start.
def test_nothing_is_collected_while_modules_are_imported() -> None:
    script = """
import atexit, gc, sys
of_python, collected = gc.get_threshold(), []
def collects(phase, told):
    if phase == "start" and gc.get_threshold() != of_python:
        collected.append(told)
gc.callbacks.append(collects)
from locality.__main__ import main
atexit.register(lambda: print(len(collected), gc.get_freeze_count() > 10_000))
sys.argv = ["locality", "accept", "--help"]
main()
"""
    assert told_by(script) == ["0", "True"]


# Bug: the list of commands waits for what only commands use. click's own imports are not ours.
def test_the_list_of_commands_imports_no_paths() -> None:
    script = """
import atexit, sys
import click
before = {*sys.modules}
from locality.cli import main
atexit.register(lambda: print("NEEDLESS", *{"pathlib", "urllib.parse"} & {*sys.modules} - before))
sys.argv = ["locality", "--help"]
main()
"""
    assert told_by(script) == ["NEEDLESS"]


# Bug: a measurement waits for modules that it needs when the first event comes, or never.
def test_a_measurement_imports_no_sockets() -> None:
    script = """
import sys
from locality import stream
from locality.accept import columns, source, text
print("NEEDLESS", *{"socket", "selectors", "json", "numpy.ma"} & {*sys.modules})
"""
    assert told_by(script) == ["NEEDLESS"]
