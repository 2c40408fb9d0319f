"""Ctrl-C while a command runs: an exception, but never where an exception would be lost.

A command takes back what it did when KeyboardInterrupt passes through it. Python raises that at
any instruction, and at some of them nobody can catch it: it is printed and forgotten in a
callback of libbpf or in a destructor, and an extension module that is being imported turns it into
an ImportError. There the signal is put off until later.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

#: How long a signal that comes at a bad moment is put off, in seconds.
LATER_S = 0.01
#: Packages whose functions are not interrupted, nor what they call; all of them are soon done.
_UNDISTURBED = {"_frozen_importlib", "_frozen_importlib_external", "importlib"}


@contextmanager
def raising() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt in the block; where it was ignored it stays ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    alarm, unraisable = signal.signal(signal.SIGALRM, _again), sys.unraisablehook
    sys.unraisablehook = _not_raised
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        sys.unraisablehook = unraisable


def _interrupt(_number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in _UNDISTURBED:
            _put_off()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _not_raised(lost: sys.UnraisableHookArgs) -> None:
    """Called by Python with an exception that no one can catch."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        _put_off()
    else:
        sys.__unraisablehook__(lost)


def _put_off() -> None:
    signal.setitimer(signal.ITIMER_REAL, LATER_S)


def _again(_number: int, _frame: FrameType | None) -> None:
    # For whoever handles SIGINT by now: `stream` ends a measurement in order.
    signal.raise_signal(signal.SIGINT)
