"""Writing files: the one way in which this program makes a file that a user named.

As root it may write into a directory of somebody else. So a file is always made anew, never opened
through a link, a FIFO or a device that lies in wait under its name, and only its owner may read it.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


def create(path: Path, *, force: bool = False) -> int:
    """Make a new file that only its owner may read.

    Args:
        path: Where.
        force: Replace a regular file of that name.

    Returns:
        A descriptor to write to.

    Raises:
        LocalityError: There is something of that name, or no file can be made there.
    """
    name = printable(str(path))
    try:
        if force and _is_regular(path):
            # A new file, not the old one emptied: who reads the old one may finish.
            path.unlink()
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if _is_regular(path):
            raise LocalityError(f"{name} exists: --force replaces it", exit_code=2) from None
        raise LocalityError(f"cannot write {name}: it is no regular file", exit_code=2) from None
    except (OSError, ValueError) as error:
        raise LocalityError(f"cannot write {name}: {reason(error)}") from None


def _is_regular(path: Path) -> bool:
    """Whether a file of this name, not a link to one, is there."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def reason(error: OSError | ValueError) -> str:
    """What the system said, in words."""
    # A name with a zero byte, or one that no encoding has, is a ValueError of Python's.
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A new file, written by the block; nothing is left of it if the block fails.

    Args:
        path: Where.
        force: Replace a regular file of that name.

    Raises:
        LocalityError: It cannot be made, or not be written.
    """
    descriptor = create(path, force=force)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LocalityError(f"cannot write {printable(str(path))}: {reason(error)}") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
