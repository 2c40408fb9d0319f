"""`make test`: lint, unit tests, live tests and two guests, side by side.

Live tests measure the machine, so what runs beside them must not be seen by them: unit tests send
next to no packets and are nice, and the packets of the guest beside them do not leave it. What a
part says is in a file of its own, and is shown at the end if the part failed.

A live test waits for the kernel, for servers and for a CPU, and the machine may be busy with
something else. So the live tests that failed are repeated once when nothing runs beside them. One
that fails again has failed. One that passes is named with all that it said the first time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from tests.checkout import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOGS = CHECKOUT / ".cache/test"
PATIENCE_S = 20.0
POLL_S = 0.1


@dataclass(frozen=True)
class Part:
    """Some of the tests.

    Attributes:
        name: Of the part and of its log.
        command: A line for sh.
        again: A line that repeats, alone, what failed; None where a failure is final.
    """

    name: str
    command: str
    again: str | None = None


def say(text: str) -> None:
    """Print at once: the next part may take minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


PYTHON = f"{sys.executable} -m"
PYTEST = f"{PYTHON} pytest -q -p no:cacheprovider"
CHECKS = ("ruff check .", "ruff format --check .", "mypy")
#: What hangs is ended, to be repeated: the slowest of these tests takes 20 s.
LIVE = (
    f"{PYTHON} pytest -q -o cache_dir={LOGS}/live.cache --timeout 240 "
    "tests/live tests/vm/test_load_wire.py"
)
#: Lanes run side by side, the parts of a lane one after the other. Two lanes keep two CPUs busy;
#: with more, emulated CPUs wait so long for a real one that packets in the guest come too late.
LANES = (
    (
        Part("live", LIVE, f"{LIVE} --last-failed --last-failed-no-failures none"),
        # Its packets come from this machine, so live tests would see them.
        Part("card", f"{PYTEST} tests/vm/test_nic.py --kernels 6.12"),
    ),
    (
        Part("lint", " && ".join(f"nice {PYTHON} {check}" for check in CHECKS)),
        Part("guest", f"{PYTEST} tests/vm/test_core.py"),
        Part("unit", f"nice {PYTEST} -n 2 --dist loadscope tests/unit"),
    ),
)


class Running:
    """A part that was started; its processes are a group of their own, to be ended together.

    Args:
        part: Which.
        logs: The directory for what it says.
    """

    def __init__(self, part: Part, logs: Path) -> None:
        self.part = part
        self.log = logs / f"{part.name}.log"
        self._begin = time.monotonic()
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                ["sh", "-c", part.command],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        """All that it said so far."""
        return self.log.read_text(errors="replace").rstrip()

    def result(self) -> str:
        """How it ended, on one line."""
        verdict = "FAILED" if self.process.returncode else "passed"
        seconds = time.monotonic() - self._begin
        last = self.said().rpartition("\n")[2].strip("= ")
        return f"{self.part.name:6} {verdict} after {seconds:3.0f} s: {last}"

    def interrupt(self) -> None:
        """End it as Ctrl-C would, and then by force what does not heed that."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
            os.killpg(self.process.pid, signal.SIGKILL)


def run(lanes: Sequence[Sequence[Part]], logs: Path, stop: Event) -> bool:
    """Run all parts, print what came of each; whether all passed.

    A part that fails keeps no other from running.

    Args:
        lanes: The parts.
        logs: A directory for what they say.
        stop: Set to end all of it.
    """
    logs.mkdir(parents=True, exist_ok=True)
    failed, passed = _side_by_side(lanes, logs, stop), True
    for shown in failed:
        again = Part(f"{shown.part.name}-again", shown.part.again or "false")
        repeated = [] if shown.part.again is None else _side_by_side(((again,),), logs, stop)
        passed &= shown.part.again is not None and not repeated
        for one in (shown, *repeated):
            say(f"\n=== {one.part.name}: {one.log}\n{one.said()}")
    return passed and not stop.is_set()


def _side_by_side(lanes: Sequence[Sequence[Part]], logs: Path, stop: Event) -> list[Running]:
    """Run all parts; those that failed or were interrupted."""
    waiting = [list(lane) for lane in lanes]
    running: dict[int, Running] = {}
    failed: list[Running] = []
    while (running or any(waiting)) and not stop.wait(POLL_S):
        for lane, parts in enumerate(waiting):
            if lane in running and running[lane].process.poll() is not None:
                ended = running.pop(lane)
                say(ended.result())
                failed += [ended] if ended.process.returncode else []
            if lane not in running and parts:
                running[lane] = Running(parts.pop(0), logs)
    for cut in running.values():
        cut.interrupt()
        say(f"{cut.part.name:6} interrupted")
        failed.append(cut)
    return failed


def main() -> int:
    """Run `LANES`; the exit status."""
    stop = Event()
    # A handler that raises could do so while a part is being started, which then goes on.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    passed = run(LANES, LOGS, stop)
    if stop.is_set():
        return 130
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
