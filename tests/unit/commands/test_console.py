"""What every command takes: --output, --quiet, --log-format, --utc."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from locality.commands.lines import table_console

RECORDED = Path(__file__).parents[3] / "locality/lab/recorded/before.arrows"


def locality(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locality", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# Bugs: only the group takes it, or only the command; the file has less than was printed; a file
# of somebody is replaced, or written through a link.
def test_output(tmp_path: Path) -> None:
    printed = locality("info", RECORDED).stdout
    first, second = tmp_path / "first", tmp_path / "second"
    for arguments in (
        ("--output", first, "info", RECORDED),
        ("info", RECORDED, "--output", second),
    ):
        done = locality(*arguments)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert first.read_text() == second.read_text() == printed
    assert first.stat().st_mode & 0o777 == 0o600
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for taken in (first, link, tmp_path):
        done = locality("info", RECORDED, "--output", taken)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
    assert first.read_text() == printed
    assert not (tmp_path / "elsewhere").exists()


# Bugs: what is said beside the results is still printed; errors are kept quiet, too.
def test_quiet() -> None:
    loud = locality("replay", "--speed", "0", "--json", RECORDED)
    quiet = locality("replay", "--speed", "0", "--json", "--quiet", RECORDED)
    assert loud.stderr
    assert quiet.stderr == ""
    assert quiet.stdout == loud.stdout
    assert locality("--quiet", "info", "/nowhere").stderr.startswith("locality: cannot read")


# Bug: a line on standard error that a service's log cannot take apart.
@pytest.mark.parametrize(
    "arguments", [("info", "/nowhere"), ("nosuch",), ("accept", "--port", "x")]
)
def test_messages_as_json(arguments: tuple[str, ...]) -> None:
    done = locality("--log-format", "json", *arguments)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["level"] for one in said] == ["error"]
    assert done.returncode


# Bugs: a service can set for one command only how it logs; a variable wins over the command line.
def test_the_environment_sets_what_all_commands_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALITY_LOG_FORMAT", "json")
    assert json.loads(locality("info", "/nowhere").stderr)["level"] == "error"
    assert locality("--log-format", "text", "info", "/nowhere").stderr.startswith("locality: ")
    monkeypatch.setenv("LOCALITY_QUIET", "1")
    assert locality("replay", "--speed", "0", RECORDED).stderr == ""


# Bug: the clock of the machine's zone beside the word UTC.
def test_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5")
    first = ["replay", "--speed", "0", RECORDED]
    local, utc = locality(*first), locality(*first, "--utc")
    hours = [int(done.stdout.splitlines()[1][:2]) for done in (local, utc)]
    assert (hours[0] - hours[1]) % 24 == 5
    assert "times are XYZ (UTC+0500)" in local.stderr
    assert "times are" not in utc.stderr
    assert "+05:00\nended" in locality("info", RECORDED).stdout


# Bug: a kernel's answer in a line of the lab is taken for rich's markup, and a part of it is gone.
def test_lines_beside_tables_are_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = "not of the server alone: [fentry] refused [bold]it[/bold] :warning: [/x]"
    table_console().print(line, soft_wrap=True)
    assert capsys.readouterr().out == f"{line}\n"
    table_console(beside=True).print(line, soft_wrap=True)
    assert capsys.readouterr().err == f"{line}\n"
