"""Give up what a process is not to do any more: its capabilities, and gaining new ones.

A measurement needs much to attach its probes and little to read what they count, which may go on
for days. What it has given up, a fault in it cannot be made to use.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from locality.machine.capabilities import NUMBERS, PROBES

if TYPE_CHECKING:
    from collections.abc import Iterable

# include/uapi/linux/capability.h, include/uapi/linux/prctl.h
_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS = 38

#: What it takes to make a file in a directory of another user.
FILES = ("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH")

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct; a pid of 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Half(ctypes.Structure):
    """struct __user_cap_data_struct: 32 of the capabilities."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def keep_only(names: Iterable[str]) -> None:
    """Give up every capability but these, for good; running a program gives none back.

    Of this thread, and of those that it starts from now on. Where a container forbids to give
    them up, the process goes on as it was.

    Args:
        names: Of `locality.machine.capabilities`. Those that the process does not have are
            passed over. The one that opens other users' files is kept if this program's own
            are such files.
    """
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    permitted, wanted = _permitted(), frozenset(names)
    kept = permitted & _mask(wanted)
    if _mask(wanted.intersection(PROBES)) & ~permitted:  # it has the older one in their place
        kept |= permitted & _mask(["CAP_SYS_ADMIN"])
    readable = [directory for directory in sys.path if _opens(directory)]
    _set(kept, permitted)
    # Modules are imported to the end of a run, from directories that may be a user's own.
    if not all(map(_opens, readable)):
        kept |= permitted & _mask(["CAP_DAC_READ_SEARCH"])
    _set(kept, kept)


def _mask(names: Iterable[str]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def _permitted() -> int:
    halves = (_Half * 2)()
    if _libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), halves):
        return 0
    low, high = (int(half.permitted) for half in halves)
    return low | high << 32


def _set(effective: int, permitted: int) -> None:
    halves = (_Half * 2)()
    for place, half in enumerate(halves):
        half.effective = effective >> 32 * place & 0xFFFFFFFF
        half.permitted = permitted >> 32 * place & 0xFFFFFFFF
    _libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), halves)


def _opens(directory: str) -> bool:
    with suppress(OSError):
        os.close(os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return True
    return False
