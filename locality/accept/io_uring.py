"""Connections that io_uring accepts: probes that stand beside any rung of `accept`.

A rung sees system calls, and io_uring's accept is none. `probes/accept_io_uring.h`
sees it by tracepoints, so wherever there is io_uring at all, and adds to the same ring.
Where it cannot work, the rung does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.errors import Unsupported

if TYPE_CHECKING:
    from locality.bpf.engine import Kernel

#: By a tracepoint's name and its number of arguments, the program that takes these.
SUBMIT = {("io_uring_submit_req", 1): "submit_req", ("io_uring_submit_sqe", 2): "submit_sqe"}
TASK_ADD = {("io_uring_task_add", 2): "task_add"}
COMPLETE = {
    ("io_uring_complete", 3): "complete_with_cqe",
    ("io_uring_complete", 7): "complete_with_values",
}


def programs(kernel: Kernel) -> tuple[str, ...]:
    """The programs for this kernel's tracepoints.

    Raises:
        Unsupported: It has no io_uring, or tracepoints that do not show the request.
    """
    if kernel.tracepoint_arguments("io_uring_complete") is None:
        raise Unsupported("this kernel has no tracepoint io_uring_complete")
    chosen = [
        program
        for choice in (SUBMIT, TASK_ADD, COMPLETE)
        for (tracepoint, arguments), program in choice.items()
        if kernel.tracepoint_arguments(tracepoint) == arguments
    ]
    if len(chosen) != len((SUBMIT, TASK_ADD, COMPLETE)):
        raise Unsupported("this kernel's io_uring tracepoints do not show the request")
    return tuple(chosen)
