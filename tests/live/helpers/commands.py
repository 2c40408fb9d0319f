"""Commands as users run them: to their end, or from when their probes are attached."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.live.helpers.traffic import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCALITY = [sys.executable, "-m", "locality"]


def run(*arguments: object, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(
        [*LOCALITY, *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@contextmanager
def tracing(
    directory: Path, *arguments: object, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A tracing command that has attached its probes; killed when the block ends."""
    ready = directory / "ready"
    ready.unlink(missing_ok=True)
    command = [*LOCALITY, *map(str, arguments), "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not ready.exists():
                assert time.monotonic() < deadline, "never ready"
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.01)
            assert ready.read_text() == f"{process.pid}\n"
            yield process
        finally:
            process.kill()
