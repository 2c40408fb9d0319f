"""Commands and metrics of the user in a trial."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.trial import programs
from locality.trial.programs import Command, Metric

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = sys.executable


# Bugs: a shell sees it; it runs where an attacker has put files.
def test_words_are_split_and_no_shell_sees_them(tmp_path: Path) -> None:
    script = "import os, sys; print(sys.argv[1:], os.getcwd())"
    command = Command.parse(f"{PYTHON} -c '{script}' 'a b' $HOME *.py ;")
    assert command.run() == "['a b', '$HOME', '*.py', ';'] /\n"
    assert not list(tmp_path.iterdir())


# Bug: the user sees that a command failed, and not why; or a traceback.
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/nothing/here", "cannot run /nothing/here: No such file"),
        (f"{PYTHON} -c 'import sys; sys.exit(\"why\\n\")'", "exit status 1: why"),
        (f"{PYTHON} -c 'print(1)' && false", None),
        ("'open", "No closing quotation"),
        ("", "an empty command"),
        ("a\0b", "cannot run"),
    ],
)
def test_a_command_that_fails_says_why(text: str, said: str | None) -> None:
    if said is None:  # what a shell would do with it is nothing to us
        assert Command.parse(text).run() == "1\n"
        return
    with pytest.raises(LocalityError, match=said):
        Command.parse(text).run()


# Bugs: a command that hangs keeps the trial, and with it what it changed; a daemon that the command
# left behind does so by holding its output open.
def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "LONGEST_S", 0.2)
    with pytest.raises(LocalityError, match="not done after"):
        Command.parse("sleep 1000").run()
    began = time.monotonic()
    daemon = f"{PYTHON} -c 'import os, time; os.fork() or time.sleep(100)'"
    monkeypatch.setattr(programs, "LONGEST_S", 20)
    Command.parse(daemon).run()
    assert time.monotonic() - began < 60


# Bug: an equals sign or a colon of the command is taken for that of the name.
@pytest.mark.parametrize(
    ("text", "name", "better", "argv"),
    [
        ("p99=cat /x", "p99", "lower", ("cat", "/x")),
        ("req/s:higher=echo a=b", "req/s", "higher", ("echo", "a=b")),
        ("x:lower=echo 1", "x", "lower", ("echo", "1")),
    ],
)
def test_metrics(text: str, name: str, better: str, argv: tuple[str, ...]) -> None:
    metric = Metric.parse(text)
    assert (metric.name, metric.better, metric.command.argv) == (name, better, argv)


# Bug: a metric without a name or a command runs, and its column has no title.
@pytest.mark.parametrize("text", ["nothing", "=cat", "a:up=cat", "a=", "a\x1b=cat"])
def test_what_is_no_metric_is_refused(text: str) -> None:
    with pytest.raises(LocalityError, match=r"no name or no command|empty command"):
        Metric.parse(text)


# Bug: the first number of a text is taken for the figure, or infinity.
@pytest.mark.parametrize("printed", ["", "12 requests", "nan", "inf", "1 2"])
def test_only_one_number_is_a_number(printed: str) -> None:
    assert Metric.parse("n=echo ' 1.5e3 '").read() == 1500
    with pytest.raises(LocalityError, match="and not one number"):
        Metric.parse(f"n=echo '{printed}'").read()


# Bug: a metric overwrites a column of the recording.
def test_a_metric_cannot_have_the_name_of_a_column() -> None:
    with pytest.raises(LocalityError, match="choose another name"):
        Metric.parse("pair=echo 1").outcome()
    assert os.getcwd() != "/"  # noqa: PTH109 - the command's directory is not ours
