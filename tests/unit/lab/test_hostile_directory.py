"""Commands started in a directory of somebody else: nothing of it is read."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from locality.lab.programs import ENVIRONMENT, PYTHON
from tests.unit.recordings import accepts

if TYPE_CHECKING:
    from pathlib import Path


# Bug: matplotlib reads the current directory's settings, which can run LaTeX, or, as a FIFO, hold
# the report up until it is killed.
def test_matplotlib_reads_no_settings_from_here(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "matplotlibrc")
    recording = accepts(tmp_path / "x.arrows", 50, 0.5)
    script = "from locality.cli import main; main()"
    command = [sys.executable, "-P", "-c", script, "report", str(recording), "-o", "report.html"]
    subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=120)
    assert (tmp_path / "report.html").stat().st_size


# Bug: the lab's Python programs take a numpy.py of the current directory for numpy, and so run
# somebody else's code as root.
def test_the_labs_programs_import_nothing_from_here(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("open('ran', 'w')\nraise SystemExit(1)\n")
    (tmp_path / "wrk").symlink_to("/bin/false")
    command = [*PYTHON, "locality.lab.udp_forwarder"]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    # Its arguments are missing: it got as far as looking at them.
    assert "IndexError" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert "" not in ENVIRONMENT["PATH"].split(":")
    assert all(place.startswith("/") for place in ENVIRONMENT["PATH"].split(":"))
