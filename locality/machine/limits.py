"""When this process may open no more files, that says nothing about what it wanted to open.

Processes end and sockets are closed while they are looked at, and most code takes a file that
cannot be opened for one of those. At a limit of our own it must not: the answer would be wrong.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

with suppress(ImportError):  # only Unix has it, and recordings are read elsewhere, too
    # Not when it is needed, for then there may be no file left to read it from.
    import resource

if TYPE_CHECKING:
    from types import TracebackType

#: Too many open files in this process, or on this machine.
OURS = frozenset({errno.EMFILE, errno.ENFILE})

#: Every probe, map and link is a file.
ENOUGH = 64


def raise_if_ours(number: int | None) -> None:
    """Raise OSError if this errno is about a limit of ours, and no answer of the kernel's."""
    if number in OURS:
        raise OSError(number, os.strerror(number))


def open_files() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def require_room() -> None:
    """Raise OSError if this process may open fewer files than probes take.

    libbpf does not always tell: it takes a kernel that gives it no descriptor for an old one.
    """
    if open_files() < ENOUGH:
        raise_if_ours(errno.EMFILE)


class PassingOver(suppress):
    """Passes over what has ended, was closed, or is not ours to see: ``with PassingOver():``."""

    def __init__(self) -> None:
        super().__init__(OSError)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Whether the error is to be forgotten."""
        if isinstance(error, OSError) and error.errno in OURS:
            return False
        return super().__exit__(kind, error, traceback)
