"""What explain --apply changed is taken back."""

from __future__ import annotations

import errno
import os
import signal
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from locality.changes.kernel import FileChange
from locality.changes.system import KernelFiles, System
from locality.commands import explain
from locality.errors import LocalityError
from locality.explain.remedies import Remedy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SYSCTL = "/proc/sys/net/core/skb_defer_max"
REFUSED = "/proc/sys/net/core/rps_sock_flow_entries"


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt, as in a command, also where a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelFiles:
    """The kernel's files that are changed, in a directory."""
    for path in (SYSCTL, REFUSED):
        setting = tmp_path / "root" / path.lstrip("/")
        setting.parent.mkdir(parents=True, exist_ok=True)
        setting.write_text("0\n")
    none: dict[str, tuple[int, ...]] = {}
    files = KernelFiles(tmp_path / "root")
    whole = System(files, none.__getitem__, none.__setitem__, "boot-1", "net:[1]")
    monkeypatch.setattr("locality.changes.system.this_system", lambda: whole)
    return files


def tried(settle: Callable[[], None], paths: Sequence[str], undo_file: Path, *, back: bool) -> None:
    """Apply changes of these files; settle is called once they are made."""
    observer: Any = SimpleNamespace(watch=SimpleNamespace(settle=settle))
    changes = tuple(FileChange(path, "0\n", "64") for path in paths)
    before: Any = None
    remedy = Remedy(("a command",), changes, 1.0)
    explain._try(observer, before, remedy, 1.0, undo_file, back=back)  # noqa: SLF001


# Bug: explain --apply --undo is ended while it measures, and what it changed stays.
@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_explain_tries_is_taken_back_whatever_ends_it(
    ended: signal.Signals, system: KernelFiles, tmp_path: Path
) -> None:
    def settle() -> None:
        assert system.read(SYSCTL) == "64"
        os.kill(os.getpid(), ended)
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        tried(settle, [SYSCTL], tmp_path / "undo.json", back=True)
    assert system.read(SYSCTL) == "0\n"


# Bug: a worker cannot be pinned, and the map that is made for pinned ones stays.
def test_half_a_remedy_is_taken_back(
    system: KernelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = KernelFiles.write

    def refuse(files: KernelFiles, path: str, text: str) -> None:
        if path == REFUSED:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        write(files, path, text)

    monkeypatch.setattr(KernelFiles, "write", refuse)
    with pytest.raises(LocalityError, match="1 of 2 changes could not be made"):
        tried(pytest.fail, [SYSCTL, REFUSED], tmp_path / "undo.json", back=False)
    assert system.read(SYSCTL) == "0\n"
