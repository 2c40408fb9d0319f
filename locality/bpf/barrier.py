"""A full memory barrier for memory that the kernel writes, and Python has none of its own.

x86-64 keeps loads in order, and keeps a store behind the loads before it, so nothing is needed
there. arm64 does neither: a CPU may load a record before the position that says it is there, and
may give a record back before it has been copied.

What is needed is what smp_mb() is in the kernel. A system call as such is no barrier. One that
promises to be a barrier is membarrier(2) with MEMBARRIER_CMD_GLOBAL_EXPEDITED (Linux 4.16):
membarrier_global_expedited() of kernel/sched/membarrier.c executes smp_mb() when it begins
("system call entry is not a mb") and once more when it ends, on every machine that has more than
one CPU online; with one CPU the order cannot be seen. The command interrupts only CPUs that run
processes which registered for it, and we do not register. MEMBARRIER_CMD_PRIVATE_EXPEDITED would
not do: it returns at once in a process of one thread.

What else was looked at: a lock of Python or of the C library orders one way when it is taken and
the other way when it is released, which is no full barrier and depends on how it is made; libbpf's
ring_buffer__consume() orders, and calls back for each record, which takes 20 times as long; a
program of our own for each architecture would have to be compiled and loaded for one instruction.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import TYPE_CHECKING

from locality.errors import Unsupported
from locality.machine.syscalls import number

if TYPE_CHECKING:
    from collections.abc import Callable

_GLOBAL_EXPEDITED = 2  # include/uapi/linux/membarrier.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def nothing() -> None:
    """The barrier where the processor keeps the order by itself."""


def memory_barrier(machine: str | None = None) -> Callable[[], object]:
    """A function that puts all loads and stores before it before those after it.

    Args:
        machine: Another architecture, as ``uname -m`` says.

    Raises:
        Unsupported: The processor needs one, and the kernel refuses membarrier().
    """
    if (machine or platform.machine()) == "x86_64":
        return nothing
    call = number("membarrier")

    def barrier() -> None:
        if call is None or _libc.syscall(*map(ctypes.c_long, (call, _GLOBAL_EXPEDITED, 0, 0))):
            answer = os.strerror(ctypes.get_errno()) if call else "its number is not known"
            raise Unsupported(
                f"membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED): {answer}. Without it records of a "
                "ring buffer cannot be read in order on this processor: allow the system call, or "
                "use a kernel with CONFIG_MEMBARRIER",
                answer=answer,
            )

    barrier()
    return barrier
