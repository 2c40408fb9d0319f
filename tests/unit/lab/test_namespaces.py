"""Namespaces: errors where none can be made, and what their empty /tmp leaves of the old one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from locality.errors import LocalityError
from locality.lab.namespaces import namespace


# Bug: unshare is refused and ends before it was written to; the broken pipe of its standard
# input comes out as if our own reader had gone, and the command ends without a word.
def test_an_unshare_that_ends_at_once_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(subprocess.Popen[bytes]):
        """Comes back only when the program has ended: the order that loses the race."""

        def __init__(self, _argv: object, **options: object) -> None:
            super().__init__(["sh", "-c", "echo refused >&2; exit 1"], **options)  # type: ignore[call-overload]
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(subprocess, "Popen", Ended)
    with pytest.raises(LocalityError, match="refused"), namespace():
        pass


# Bugs: a program that is installed below /tmp finds neither Python nor itself in the lab; or all
# files of /tmp are shown there.
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_an_installation_below_tmp_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(dir="/tmp") as directory:
        ours, other = Path(directory, "the installation"), Path(directory, "other")
        for one in (ours, other):
            one.mkdir()
            (one / "file").write_text("here")
        monkeypatch.setattr(sys, "prefix", str(ours))
        with namespace() as made:
            assert made.run("cat", str(ours / "file")) == "here"
            assert made.run("ls", directory).split("\n") == [ours.name, ""]
