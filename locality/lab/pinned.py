"""Processes of a lab program that do the same work, each pinned to a CPU of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PR_SET_PDEATHSIG = 1


def run_pinned(cpus: Sequence[int], work: Callable[[int], NoReturn]) -> NoReturn:
    """Fork a process for each CPU and run until one of them ends, or we are told to.

    With this process end all the others, however it ends.

    Args:
        cpus: The CPU of each; a CPU may be named twice.
        work: What a process does, given its number.
    """
    parent = os.getpid()
    for number, cpu in enumerate(cpus):
        if os.fork() == 0:
            _end_with(parent)
            try:
                os.sched_setaffinity(0, {cpu})
                work(number)
            except BaseException as error:  # noqa: BLE001 - told to who watches our output
                print(f"process {number} on CPU {cpu}: {error}", flush=True)  # noqa: T201
            os._exit(1)
    pid, status = os.wait()
    print(f"process {pid} ended: {_how(status)}", flush=True)  # noqa: T201
    sys.exit(1)


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
