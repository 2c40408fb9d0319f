"""The lab's errors before and around the programs it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.lab.programs import children, failure, require, run

if TYPE_CHECKING:
    from pathlib import Path


# Bug: the user is told one missing program at a time, or not which package has it.
def test_every_missing_program_is_named_with_its_package() -> None:
    packages = {"cat": "coreutils", "no-such-wrk": "wrk", "no-such-nginx": "nginx-light"}
    with pytest.raises(LocalityError) as error:
        require(packages)
    message = str(error.value)
    assert message == (
        "the lab needs no-such-wrk and no-such-nginx in a directory of the system (such as "
        "/usr/bin): apt-get install nginx-light wrk"
    )


# Bug: without root the first `unshare` fails with a message nobody understands.
def test_without_root_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LocalityError, match="only root can"):
        require({"cat": "coreutils"})


# Bug: a command that fails in the middle of the set-up goes unnoticed, or the error is a
# traceback, or it carries the first line of a long complaint and not the last.
def test_a_failed_command_is_one_line_with_its_last_words() -> None:
    with pytest.raises(LocalityError) as error:
        run(["sh", "-c", "echo first >&2; echo last words >&2; echo >&2; exit 3"])
    assert str(error.value).endswith(": last words")
    assert "\n" not in str(error.value)


# Bug: the nsenter in front hides what was really tried.
def test_the_error_names_the_command_and_not_what_ran_it() -> None:
    with pytest.raises(LocalityError, match=r"^false: exit status 1$"):
        run(["false"], inside=["env", "--"])


# Bug: a program that vanished between the check and its use ends in a traceback.
def test_a_program_that_cannot_start_is_one_line() -> None:
    with pytest.raises(LocalityError, match=r"^no-such-program: No such file or directory$"):
        run(["no-such-program"])


# Bug: after a kill, an old warning in the log is shown as the reason.
def test_a_signal_is_the_reason_even_if_something_was_printed() -> None:
    assert str(failure(["nginx"], "an old warning\n", -9)) == "nginx: killed by signal 9"


# Bug: /proc/PID/stat is split at blanks, so a blank or a parenthesis in a name shifts the fields.
def test_children_are_found_whatever_their_name(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    shutil.copy(shutil.which("cat") or "cat", program)
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
    assert child.pid not in children(os.getpid())


# Bug: grandchildren are taken for children, so a wrapper's wrapper counts as a worker.
def test_grandchildren_are_not_children() -> None:
    script = "import subprocess; print(subprocess.Popen(['cat']).pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        grandchild = int(child.stdout.readline())
        assert children(child.pid) == [grandchild]
        assert grandchild not in children(os.getpid())
        child.communicate("\n")
