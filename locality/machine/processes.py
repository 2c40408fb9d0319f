"""Whether the processes a user names exist, before waiting for them in vain."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROC = Path("/proc")


def require_pids(pids: Iterable[int], proc: Path = PROC) -> None:
    """Check that these processes run.

    Raises:
        LocalityError: One does not, or the number is that of a thread.
    """
    for pid in pids:
        try:
            status = (proc / str(pid) / "status").read_bytes()
        except OSError:
            raise LocalityError(f"there is no process {pid}: pgrep -a NAME finds the pid") from None
        if b"\nTgid:\t%d\n" % pid not in status:
            raise LocalityError(f"{pid} is a thread: give the pid of its process")


def has_thread_named(comm: str, proc: Path = PROC) -> bool:
    """Whether any thread has this name now; the kernel keeps 15 bytes of a name."""
    return any(True for _ in _with_thread_named(comm, proc))


def pids_with_thread_named(comm: str, proc: Path = PROC) -> set[int]:
    """The processes that have a thread of this name now."""
    return set(_with_thread_named(comm, proc))


def _with_thread_named(comm: str, proc: Path) -> Iterator[int]:
    wanted = os.fsencode(comm)[:15]
    for path in proc.glob("[0-9]*/task/*/comm"):
        with suppress(OSError):
            if path.read_bytes().rstrip(b"\n") == wanted:
                yield int(path.parts[-4])
