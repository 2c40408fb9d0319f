"""The parts of `make test` side by side: none is lost, and what failed is shown."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from tests.checkout import CHECKOUT
from tests.run import LANES, Part, run


# Bugs: a failure in the middle of a lane is forgotten, or ends the lane; what passed is shown and
# what failed is not; lanes wait for each other.
def test_every_part_runs_and_a_failure_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    meet = tmp_path / "meet"
    lanes = (
        (Part("bad", "echo bad words; false"), Part("good", f"echo good words; >{meet}")),
        (Part("other", f"until [ -e {meet} ]; do sleep 0.05; done; echo other words"),),
    )
    assert not run(lanes, tmp_path / "logs", Event())
    said = capfd.readouterr().out
    lines = re.sub(r" +\d+ s", " N s", said).splitlines()
    assert lines[0] == "bad    FAILED after N s: bad words"
    assert {*lines[1:3]} == {
        "good   passed after N s: good words",
        "other  passed after N s: other words",
    }
    assert lines[3:] == ["", f"=== bad: {tmp_path}/logs/bad.log", "bad words"]
    assert run(lanes[1:], tmp_path / "logs", Event())


# Bugs: what fails twice passes; what failed once is not shown; parts without a second try have one.
@pytest.mark.parametrize(("again", "passes"), [("echo fine", True), ("echo no; false", False)])
def test_what_failed_is_repeated_when_the_rest_has_ended(
    again: str, *, passes: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = Part("live", "echo bad words; false", f"test -e {tmp_path}/ended && {again}")
    lanes = ((first,), (Part("other", f"sleep 0.5; touch {tmp_path}/ended"),))
    assert run(lanes, tmp_path / "logs", Event()) is passes
    said = capfd.readouterr().out
    assert "=== live: " in said
    assert ("live-again FAILED" in said) is not passes
    assert ("live-again passed" in said) is passes


# Bug: whoever stops the tests leaves a guest behind, or does not see how far it came.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_part(tmp_path: Path, number: int) -> None:
    program = f"""
import sys
from pathlib import Path
from tests import run
run.LANES = ((run.Part("slow", "echo so far; sleep 1000 & echo $! >{tmp_path}/pid; wait"),),)
run.LOGS = Path("{tmp_path}")
sys.exit(run.main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        file = tmp_path / "pid"
        while not (file.exists() and file.read_text()):
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate()
    assert process.returncode == 130
    assert "slow   interrupted\n" in said
    assert said.endswith("slow.log\nso far\n")
    deadline = time.monotonic() + 60
    while Path(f"/proc/{int(file.read_text())}/cmdline").exists():
        assert time.monotonic() < deadline, "what the part started goes on"
        time.sleep(0.05)


# Bug: a directory of tests that no part runs. Those in tests/packages and the others in tests/vm
# are for `make test-packages` and `make test-kernel`.
def test_the_parts_are_all_tests() -> None:
    tests_of = (CHECKOUT / "tests").rglob("test_*.py")
    folders = {path.relative_to(CHECKOUT / "tests").parts[0] for path in tests_of}
    assert folders == {"unit", "live", "vm", "packages"}
    commands = " ".join(part.command for lane in LANES for part in lane)
    for tests in (
        "tests/unit",
        "tests/live",
        "tests/vm/test_core.py",
        "tests/vm/test_load_wire.py",
        "tests/vm/test_nic.py",
    ):
        assert tests in commands
        assert (CHECKOUT / tests).exists()
