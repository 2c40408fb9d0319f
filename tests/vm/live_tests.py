"""The live tests on one kernel: in a guest, or on this machine's own kernel.

One pytest runs them on every rung that the kernel offers, and once more those that fail. It
leaves the results and a log, in one directory a kernel.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.checkout import CHECKOUT, commit
from tests.live.helpers.subjects import SUBJECTS
from tests.vm import results
from tests.vm.compatibility import Cell, Column, cells
from tests.vm.guest import JOINED, Ended, run
from tests.vm.kernel_images import kernel_image

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The kernel that runs already.
HOST = "host"

#: The markers of what depends on the kernel. All else runs once, on this machine's kernel: no
#: kernel changes what a screen, a page or a file looks like.
WHOLE = " or ".join(SUBJECTS)
#: The marker of those that are enough between two runs of the whole.
CORE = "core"

ATTEMPTS = 2
CPUS = 4
BOOT_SECONDS = 180
SECONDS_AN_ATTEMPT = 2700
#: The CPU of another architecture is emulated at a fraction of the speed.
SECONDS_OF_ANOTHER_ARCHITECTURE = 5400
TAIL = 20_000  # characters of a log that fit in a failure's message

# Any number but 0 would do: it shows that the status that arrives here is the command's.
STATUS = 23

# They have nothing to select, and import pandas, Arrow or hypothesis, which takes long on emulated
# CPUs.
IGNORED = ("output/test_report.py", "output/test_recording.py", "steer/test_spread_program.py")
# Compiles a probe of its own: no clang is in a guest of another architecture.
NEEDS_CLANG = ("measure/test_definitions.py",)

# A failure has to come twice: the CPUs are emulated on a machine that has other things to do, so
# that a packet can take seconds. What is broken is broken the second time too.
RUN = """
uname -r
nproc
for attempt in $(seq {attempts}); do
timeout --signal=INT --kill-after=60 {seconds} python -m pytest tests/live -m "{select}" \
{ignored} -p no:hypothesispytest -p no:xdist \
-p tests.vm.results --results {share}/results \
-p no:cacheprovider --color=no --durations=15 -o faulthandler_timeout=300 \
>>{share}/log 2>&1
tests=$?
[ $tests = 0 ] && break
done
echo $tests >{share}/tests
exit {status}
"""


@dataclass(frozen=True)
class Outcome:
    """A kernel that the live tests ran on, and what they left.

    Attributes:
        kernel: Its name here.
        release: What `uname -r` says, or should.
        ended: How the guest ended, or the shell on this machine.
        share: The directory with the files.
        select: Which tests: `WHOLE` or `CORE`.
    """

    kernel: str
    release: str
    ended: Ended
    share: Path
    select: str = WHOLE

    def left(self, name: str) -> str:
        """The text of a file, empty if there is none."""
        file = self.share / name
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def status(self) -> str:
        """The exit status of the last pytest; empty if it did not end."""
        return self.left("tests").strip()

    @cached_property
    def cells(self) -> dict[tuple[str, str], Cell]:
        """What came of the tests, by subject and rung."""
        if self.status:
            otherwise = f"no test of this: pytest ended with status {self.status}"
        else:
            otherwise = f"no result: the kernel was gone after {self.ended.seconds:.0f} s"
        return cells(results.read(self.left("results")).values(), otherwise)

    @property
    def column(self) -> Column:
        """The kernel in the table."""
        title = f"{self.release} (not in QEMU)" if self.kernel == HOST else self.release
        return Column(title, self.cells, commit(), "core" if self.select == CORE else "all")

    @property
    def story(self) -> str:
        """What a person needs to see when something failed."""
        told = f"pytest said:\n{self.left('log')[-TAIL:]}"
        if not self.status:
            told += f"\noutput:\n{self.ended.output}\nconsole:\n{self.ended.console[-TAIL:]}"
        return told


def run_live_tests(kernel: str, share: Path, select: str = WHOLE) -> Outcome:
    """Run them on a kernel; takes minutes.

    Args:
        kernel: A key of `kernel_images.SOURCES`, or `HOST`.
        share: An empty directory for what is left.
        select: Which, as of pytest's -m: `WHOLE` or `CORE`.

    Raises:
        CannotBoot: There can be no such guest here.
    """
    if kernel == HOST:
        script = _script(share, select, IGNORED, SECONDS_AN_ATTEMPT)
        return Outcome(kernel, platform.release(), _here(script), share, select)
    image = kernel_image(kernel)
    own = image.architecture == "amd64"
    ignored = IGNORED if own else (*IGNORED, *NEEDS_CLANG)
    seconds = SECONDS_AN_ATTEMPT if own else SECONDS_OF_ANOTHER_ARCHITECTURE
    ended = run(
        image,
        _script(Path("/run/share"), select, ignored, seconds),
        share=share,
        timeout=BOOT_SECONDS + ATTEMPTS * seconds,
        cpus=CPUS,
        qemu=JOINED,
    )
    return Outcome(kernel, image.version, ended, share, select)


def _script(share: Path, select: str, ignored: Sequence[str], seconds: int) -> str:
    return RUN.format(
        ignored=" ".join(f"--ignore=tests/live/{name}" for name in ignored),
        attempts=ATTEMPTS,
        seconds=seconds,
        select=select,
        share=share,
        status=STATUS,
    )


def _here(script: str) -> Ended:
    begin = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", script],
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
