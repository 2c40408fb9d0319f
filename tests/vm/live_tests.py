"""The live tests on one kernel, once for each rung: in a guest, or on this machine's own kernel.

Each run is a pytest of its own, so that one that hangs or dies takes no other with it. What it
leaves is a junit file, a log and pytest's exit status, in one directory a kernel.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.compatibility import ANY, LADDERS, ROWS, Cell, Column, cells
from tests.vm.guest import JOINED, Ended, run
from tests.vm.kernel_images import CHECKOUT, kernel_image

#: The kernel that runs already.
HOST = "host"

#: The rungs of all measurements; a measurement that lacks one says so.
RUNGS = tuple(dict.fromkeys(rung.name for ladder in LADDERS.values() for rung in ladder))

#: What depends on the kernel and no rung; then what depends on the rung, on each one. All else
#: is left to `make test`: no kernel changes what a screen, a page or a file looks like.
RUNS = {ANY: "attach or chosen or agree"}
RUNS |= dict.fromkeys(RUNGS, f"({' or '.join(LADDERS)}) and not chosen")

CPUS = 4
BOOT_SECONDS = 180
SECONDS_A_RUN = 1200
TAIL = 20_000  # characters of a log that fit in a failure's message

# Any number but 0 would do: it shows that the status that arrives here is the command's.
STATUS = 23

# The two that are ignored have nothing to select, and import pandas and Arrow: emulated, that
# takes long.
#
# A failure has to come twice: the CPUs are emulated on a machine that has other things to do, so
# that a packet can take seconds. What is broken is broken the second time too.
RUN = """
for attempt in 1 2; do
{force} timeout --kill-after=10 {seconds} python -m pytest tests/live -m "{select}" \
--ignore=tests/live/test_report.py --ignore=tests/live/test_recording.py \
-p no:cacheprovider --color=no --durations=5 -o faulthandler_timeout=300 \
--junitxml={share}/{run}.xml >{share}/{run}.log 2>&1
status=$?
[ $status = 0 ] && break
cp {share}/{run}.log {share}/{run}.$attempt.log
done
echo $status >{share}/{run}.status
"""


@dataclass(frozen=True)
class Outcome:
    """A kernel that the live tests ran on, and what they left.

    Attributes:
        kernel: Its name here.
        release: What `uname -r` says, or should.
        ended: How the guest ended, or the shell on this machine.
        share: The directory with the files.
    """

    kernel: str
    release: str
    ended: Ended
    share: Path

    def left(self, name: str) -> str:
        """The text of a file, empty if there is none."""
        file = self.share / name
        return file.read_text(errors="replace") if file.exists() else ""

    def status(self, run: str) -> str:
        """The exit status of a run's pytest; empty if it did not end."""
        return self.left(f"{run}.status").strip()

    def cells(self, run: str) -> dict[tuple[str, str], Cell]:
        """What came of a run."""
        if status := self.status(run):
            otherwise = f"no test of this: pytest ended with status {status}"
        else:
            otherwise = f"no result: the kernel was gone after {self.ended.seconds:.0f} s"
        return cells(run, self.left(f"{run}.xml"), otherwise)

    @property
    def column(self) -> Column:
        """All runs, for the table."""
        found: dict[tuple[str, str], Cell] = {}
        for one in RUNS:
            found |= self.cells(one)
        title = f"{self.release} (not in QEMU)" if self.kernel == HOST else self.release
        return Column(title, {row: found[row] for row in ROWS})

    def story(self, run: str) -> str:
        """What a person needs to see when a run failed."""
        told = f"pytest said:\n{self.left(f'{run}.log')[-TAIL:]}"
        if not self.status(run):
            told += f"\noutput:\n{self.ended.output}\nconsole:\n{self.ended.console[-TAIL:]}"
        return told


def run_live_tests(kernel: str, share: Path) -> Outcome:
    """Run all of it on a kernel; takes minutes.

    Args:
        kernel: A key of `kernel_images.SUITES`, or `HOST`.
        share: An empty directory for what is left.

    Raises:
        CannotBoot: There can be no such guest here.
    """
    if kernel == HOST:
        return Outcome(kernel, platform.release(), _here(share), share)
    image = kernel_image(kernel)
    timeout = BOOT_SECONDS + 2 * SECONDS_A_RUN * len(RUNS)
    ended = run(image, _script("/run/share"), share=share, timeout=timeout, cpus=CPUS, qemu=JOINED)
    return Outcome(kernel, image.version, ended, share)


def _script(share: str) -> str:
    lines = ["uname -r", "nproc"]
    for name, select in RUNS.items():
        force = "" if name == ANY else f"LOCALITY_RUNG={name}"
        lines.append(
            RUN.format(force=force, run=name, select=select, share=share, seconds=SECONDS_A_RUN)
        )
    return "\n".join([*lines, f"exit {STATUS}"])


def _here(share: Path) -> Ended:
    begin = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", _script(str(share))],
        cwd=CHECKOUT,
        env={
            **{name: value for name, value in os.environ.items() if name != "LOCALITY_RUNG"},
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",
            "LOCALITY_REQUIRE_LIVE": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout, "", time.monotonic() - begin)
