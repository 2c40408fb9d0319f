"""The manual pages, made from the help texts."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from install.man_pages import pages
from locality.cli import COMMANDS

PAGES = dict(pages())


# Bugs: a new command has no page, or is not listed; its options are those of the command before; a
# variable that the page names is not read.
def test_every_command_has_a_page() -> None:
    for name in COMMANDS:
        assert f"\\fBlocality\\-{name.replace('-', chr(92) + '-')}\\fR(1)" in PAGES["locality.1"]
        assert f"locality-{name}.1" in PAGES
    assert "Environment: LOCALITY_COST_BY" in PAGES["locality-cost.1"]
    assert "Environment: LOCALITY_LOG_FORMAT" in PAGES["locality.1"]


# Bug: a table of exit codes is cut at a pipe, or a code is missing.
def test_the_exit_codes() -> None:
    codes = PAGES["locality.1"].partition(".SH EXIT STATUS")[2]
    for code in (0, 1, 2, 3, 130, 141):
        assert f"\\fB{code}\\fR\n" in codes
    assert "locality accept | head" in codes


# Bug: a line of help begins with a dot or a quote, and troff takes it for a request.
@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_troff_has_nothing_to_say(name: str) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"],
        input=PAGES[name],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
