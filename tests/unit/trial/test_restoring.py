"""When what a trial changed is put back; what is put back, tests/unit/changes has."""

from __future__ import annotations

import subprocess
import sys

#: A terminal that is closed sends SIGHUP, and so does its shell, a moment later.
CLOSED = """
import os, signal
from pathlib import Path
from locality.stream import interruptible
from locality.trial import restoring

def undo(*_given):
    os.kill(os.getpid(), signal.SIGHUP)
    print("put back")
    return 1, []

restoring.prepare, restoring.undo = lambda *_given: None, undo
with interruptible(), restoring.restoring([None], Path("/nowhere/undo.json"), print):
    os.kill(os.getpid(), signal.SIGHUP)
print("ended in order")
"""


# Bug: the second signal of a closed terminal ends the process while it puts everything back.
def test_a_closed_terminal_does_not_keep_it_from_putting_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("put back\nended in order\n", "")
