"""Which io_uring programs fit a kernel, by the tracepoints that kernels were found to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.accept.io_uring import programs
from locality.bpf.btf import Btf
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tracepoints(Btf):
    """A kernel of which only the tracepoints' numbers of arguments are known."""

    def __init__(self, arguments: Mapping[str, int]) -> None:
        super().__init__(0)
        self._arguments = arguments

    def tracepoint_arguments(self, name: str) -> int | None:
        return self._arguments.get(name)


DEBIAN_5_10 = {"io_uring_submit_sqe": 5, "io_uring_task_add": 4, "io_uring_complete": 3}
DEBIAN_6_1 = {"io_uring_submit_sqe": 2, "io_uring_task_add": 2, "io_uring_complete": 7}
HARDENED_6_18 = {"io_uring_submit_req": 1, "io_uring_task_add": 2, "io_uring_complete": 3}


# A program for other arguments reads what is not there: refused by the kernel, or wrong.
def test_programs_that_fit() -> None:
    assert programs(Tracepoints(DEBIAN_6_1)) == ("submit_sqe", "task_add", "complete_with_values")
    assert programs(Tracepoints(HARDENED_6_18)) == ("submit_req", "task_add", "complete_with_cqe")


# 5.10 has three arguments of io_uring_complete as well, and they are others.
@pytest.mark.parametrize(
    ("tracepoints", "reason"),
    [(DEBIAN_5_10, "do not show the request"), ({}, "no tracepoint io_uring_complete")],
)
def test_kernels_without(tracepoints: Mapping[str, int], reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        programs(Tracepoints(tracepoints))
