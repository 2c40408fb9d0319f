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
    parent, children = os.getpid(), []
    # SIGTERM becomes an exception: the children are waited for.
    signal.signal(signal.SIGTERM, _exit)
    try:
        for number, cpu in enumerate(cpus):
            pid = os.fork()
            if pid == 0:
                _run(parent, number, cpu, work)
            children.append(pid)
        pid, status = os.wait()
        children.remove(pid)
        print(f"process {pid} ended: {_how(status)}", flush=True)  # noqa: T201
    finally:
        # Their sockets are closed when we have waited for them: who comes after us finds none.
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)
    sys.exit(1)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _run(parent: int, number: int, cpu: int, work: Callable[[int], NoReturn]) -> NoReturn:
    """What a forked process does; it does not return into its parent's code."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with(parent)
    try:
        os.sched_setaffinity(0, {cpu})
        work(number)
    except BaseException as error:  # noqa: BLE001 - told to who watches our output
        print(f"process {number} on CPU {cpu}: {error}", flush=True)  # noqa: T201
    finally:
        os._exit(1)


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
