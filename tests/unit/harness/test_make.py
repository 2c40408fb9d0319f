"""What `make` would do: nothing of it is done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="limitation: no make here")


def planned(goal: str) -> list[str]:
    """The commands for a goal."""
    done = subprocess.run(
        ["make", "--dry-run", "--directory", str(ROOT), goal],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


# Bugs: `make setup` ends without a word on what to run next; a goal that needs it says "done"
# before it has begun.
def test_setup_says_what_comes_next() -> None:
    assert any("done: .venv/bin/locality check" in line for line in planned("setup"))
    assert not any("done:" in line for line in planned("test"))
