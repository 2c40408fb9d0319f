"""The live tests on Debian's kernels, on every rung the kernel offers.

One guest for each kernel: it runs the live tests on its first rung, then those that depend on
the rung on each of the others, and the tests here read what came of it. To add a kernel, add
it to `RUNGS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.vm.guest import JOINED, Ended, run
from tests.vm.kernel_images import CannotBoot, KernelImage, kernel_image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.vm

RUNGS = {
    "6.1": ("fentry", "kprobe"),
}

#: What is left to the host: `-k` of the first rung's run.
ELSEWHERE = "(not test_lab or experiment) and not test_dashboard and not test_report"
ELSEWHERE += " and not test_recording"

CPUS = 4
BOOT_SECONDS = 120
SECONDS_A_RUNG = 1200
TAIL = 20_000  # characters of a log that fit in a failure's message

# Any number but 0 would do: it shows that the status that arrives here is the command's.
STATUS = 23

LIVE_TESTS = """
LOCALITY_RUNG={rung} timeout --kill-after=10 {seconds} \
python -m pytest tests/live -k "{select}" -p no:cacheprovider --color=no --durations=5 \
-o faulthandler_timeout=300 --junitxml=/run/share/{rung}.xml >/run/share/{rung}.log 2>&1
echo $? >/run/share/{rung}.status
"""


@dataclass(frozen=True)
class Guest:
    """A guest that has come and gone, and what it left in the shared directory."""

    image: KernelImage
    ended: Ended
    share: Path

    def left(self, name: str) -> str:
        """The text of a file it left, empty if there is none."""
        file = self.share / name
        return file.read_text(errors="replace") if file.exists() else ""

    def story(self, rung: str) -> str:
        """What a person needs to see when a run failed."""
        if log := self.left(f"{rung}.log"):
            return f"pytest in the guest said:\n{log[-TAIL:]}"
        return f"output:\n{self.ended.output}\nconsole:\n{self.ended.console[-TAIL:]}"


class Guests:
    """Boots a kernel when the first test asks for it and keeps the outcome for the others."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._known: dict[str, Guest] = {}

    def of(self, kernel: str) -> Guest:
        """The guest that ran this kernel; the test is skipped if there can be none."""
        if kernel not in self._known:
            share = self._factory.mktemp(f"guest-{kernel}-", numbered=True)
            rungs = RUNGS[kernel]
            lines = ["uname -r", "nproc", "cat /proc/uptime"]
            for rung in rungs:
                # Tests that know of no rung need not run twice; the others have it in their
                # id. Of the lab's, whose subject is its own life, the experiment is enough, and
                # no kernel changes what a screen, a page or a file looks like.
                select = ELSEWHERE if rung == rungs[0] else rung
                lines += [LIVE_TESTS.format(rung=rung, select=select, seconds=SECONDS_A_RUNG)]
            lines += [f"exit {STATUS}"]
            try:
                image = kernel_image(kernel)
                ended = run(
                    image,
                    "\n".join(lines),
                    share=share,
                    timeout=BOOT_SECONDS + SECONDS_A_RUNG * len(rungs),
                    cpus=CPUS,
                    qemu=JOINED,
                )
            except CannotBoot as reason:
                pytest.skip(str(reason))
            self._known[kernel] = Guest(image, ended, share)
        return self._known[kernel]


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Guests:
    return Guests(tmp_path_factory)


# Catches: a guest that runs the host's kernel or one CPU, and a harness that loses the exit
# status or takes a guest that crashed half-way for one that is done.
@pytest.mark.parametrize("kernel", RUNGS)
def test_guest_ran_this_kernel_to_the_end(guests: Guests, kernel: str) -> None:
    guest = guests.of(kernel)
    version, cpus, _uptime = guest.ended.output.splitlines()
    assert guest.ended.status == STATUS, guest.ended.console[-TAIL:]
    assert (version, int(cpus)) == (guest.image.version, CPUS)


# Catches: a probe that loads on the developer's kernel only, misses an event on this rung, or
# whose tests quietly do not run here.
@pytest.mark.parametrize(
    ("kernel", "rung"), [(kernel, rung) for kernel, rungs in RUNGS.items() for rung in rungs]
)
def test_live_tests_pass(guests: Guests, kernel: str, rung: str) -> None:
    guest = guests.of(kernel)
    story = guest.story(rung)
    assert guest.left(f"{rung}.status").strip() == "0", story
    document = ET.fromstring(guest.left(f"{rung}.xml"))  # noqa: S314 - pytest wrote it
    cases = list(document.iter("testcase"))
    skipped = {
        case.get("name"): skip.get("message", "") for case in cases for skip in case.iter("skipped")
    }
    assert len(cases) > len(skipped), story
    hidden = {name: why for name, why in skipped.items() if not why.startswith("limitation:")}
    assert not hidden, story
