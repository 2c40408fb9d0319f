"""The namespace's own errors, where it cannot be made."""

from __future__ import annotations

import os
import subprocess

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
