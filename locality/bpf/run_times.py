"""Have the kernel measure how long BPF programs run."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.bpf.libbpf import lib
from locality.errors import Unsupported
from locality.machine.limits import raise_if_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

_BPF_STATS_RUN_TIME = 0


@contextmanager
def counted() -> Iterator[None]:
    """Have the kernel measure every BPF program's run time while the block runs.

    Each run of each program of the machine then takes some ten nanoseconds more. Closing the
    descriptor ends it, so a crash does too.

    Raises:
        Unsupported: The kernel cannot, or this process may not.
    """
    fd = lib.bpf_enable_stats(_BPF_STATS_RUN_TIME)
    if fd < 0:
        raise_if_ours(ctypes.get_errno())
        answer = os.strerror(ctypes.get_errno())
        raise Unsupported(
            f"the kernel refused to measure how long BPF programs run: {answer}. Linux 5.8 and "
            "newer do, for root",
            answer=answer,
        )
    try:
        yield
    finally:
        os.close(fd)
