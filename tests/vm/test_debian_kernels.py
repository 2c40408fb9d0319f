"""The live tests on Debian's kernels, on every rung that a kernel offers.

One boot a kernel; `live_tests.py` says what runs there, and the tests here read what came of
it. To add a kernel, add it to `kernel_images.SOURCES` and `OFFERED`.

`pytest tests/vm --kernels 5.10,7.x` chooses, `--core` runs only the core there. `make
test-kernels` runs the core on all of them and on this machine's own, and writes
docs/generated/compatibility.md; .ci/run takes them in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.check import attempts
from tests.live.helpers.subjects import LADDERS
from tests.vm.compatibility import ANY
from tests.vm.guest import run as run_guest
from tests.vm.kernel_images import CannotBoot, kernel_image
from tests.vm.live_tests import CPUS, HOST, STATUS, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.vm

EVERY_RUNG = {
    "accept": ("fentry", "kprobe", "tracepoint", "raw-tracepoint"),
    "skb": ("fentry", "kprobe", "raw-tracepoint"),
    "udp": ("fentry", "kprobe", "raw-tracepoint"),
}

#: The rungs that each kernel must offer; with any other it is a failure to refuse.
OFFERED = {
    "5.10": {"accept": ("raw-tracepoint",), "skb": ("fentry", "kprobe"), "udp": ()},
    "6.1": {**EVERY_RUNG, "udp": ("fentry", "kprobe")},
    "6.12": EVERY_RUNG,
    "6.12-rt": EVERY_RUNG,
    "7.x": EVERY_RUNG,
    "arm64-6.1": {
        "accept": ("kprobe", "tracepoint", "raw-tracepoint"),
        "skb": ("kprobe", "raw-tracepoint"),
        "udp": ("kprobe",),
    },
    "arm64": EVERY_RUNG,
    "arm64-cloud": EVERY_RUNG,
    "arm64-16k": EVERY_RUNG,
}


#: The rungs of all measurements, and the rows that have none.
RUNGS = (*dict.fromkeys(rung.name for ladder in LADDERS.values() for rung in ladder), ANY)


def offered(kernel: str) -> Mapping[str, tuple[str, ...]]:
    """The rungs of each measurement; of this machine's kernel, those that it says it offers."""
    if kernel != HOST:
        return OFFERED[kernel]
    usable = [one for one in attempts() if one.refusal is None]
    return {
        name: tuple(one.rung for one in usable if one.measurement == name) for name in EVERY_RUNG
    }


# Catches: a guest that runs the host's kernel or one CPU, and a harness that loses the exit
# status or takes a guest that crashed half-way for one that is done; a test that fails, whatever
# its subject and rung.
def test_ran_this_kernel_to_the_end(outcome: Outcome) -> None:
    assert outcome.ended.status == STATUS, outcome.story
    assert outcome.status == "0", outcome.story
    version, cpus = outcome.ended.output.splitlines()
    assert version == outcome.release
    assert outcome.kernel == HOST or int(cpus) == CPUS


# Catches: a probe that loads on the developer's kernel only, misses an event on this rung, or
# whose tests quietly do not run here; a rung that a kernel used to offer and offers no more.
@pytest.mark.parametrize("rung", RUNGS)
def test_live_tests_pass(outcome: Outcome, rung: str) -> None:
    cells = {subject: cell for (subject, row), cell in outcome.cells.items() if row == rung}
    verdicts = {subject: cell.verdict for subject, cell in cells.items()}
    rungs = offered(outcome.kernel)
    passes = {
        subject: rung in rungs[subject.split("_")[0]]
        if rung != ANY
        # What others send on this machine would be counted too.
        else (outcome.kernel, subject) != (HOST, "agree")
        for subject in verdicts
    }
    assert verdicts == {
        subject: "pass" if so else "limitation" for subject, so in passes.items()
    }, cells


# Catches: a guest whose kernel panics is waited for until the time is up, its last words are
# not shown, or its cells look as if there were nothing to say.
@pytest.mark.kernel("6.1")
def test_a_guest_that_dies(tmp_path: Path) -> None:
    patience = 600
    try:
        image = kernel_image("6.1")
        die = f"echo c >/proc/sysrq-trigger; sleep {patience}"
        ended = run_guest(image, die, share=tmp_path, timeout=patience)
    except CannotBoot as reason:
        pytest.skip(str(reason))
    assert ended.seconds < patience
    outcome = Outcome("6.1", image.version, ended, tmp_path)
    assert {cell.verdict for cell in outcome.column.cells.values()} == {"FAIL"}
    assert "Kernel panic - not syncing: sysrq triggered crash" in outcome.story
