"""What explain --apply changed is taken back."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from locality.changes.kernel import FileChange
from locality.changes.system import KernelFiles, System
from locality.commands import explain
from locality.explain.remedies import Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYSCTL = "/proc/sys/net/core/skb_defer_max"


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as in a command, also where a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Bug: explain --apply --undo is ended while it measures, and what it changed stays.
@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_explain_tries_is_taken_back_whatever_ends_it(
    ended: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "root" / SYSCTL.lstrip("/")
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    none: dict[str, tuple[int, ...]] = {}
    files = KernelFiles(tmp_path / "root")
    system = System(files, none.__getitem__, none.__setitem__, "boot-1", "net:[1]")
    monkeypatch.setattr("locality.changes.system.this_system", lambda: system)

    def settle() -> None:
        assert setting.read_text() == "64"
        os.kill(os.getpid(), ended)
        time.sleep(60)

    observer: Any = SimpleNamespace(watch=SimpleNamespace(settle=settle))
    remedy = Remedy(("a command",), (FileChange(SYSCTL, "0\n", "64"),), 1.0)
    before: Any = None
    with pytest.raises(KeyboardInterrupt):
        explain._try(observer, before, remedy, 1.0, tmp_path / "undo.json", back=True)  # noqa: SLF001
    assert setting.read_text() == "0\n"
