"""What the ladders answer on kernels that no archive at hand has: RHEL's, Ubuntu's, Amazon's.

Their BTF is made up here. What mainline had at a release is from its sources, as
probes/kernel_differences.h names the commits; what distributions put back into an older one is
from their release notes ("Available BPF features" of RHEL 8 and 9). None of these kernels was
booted: that a program loads there, and that its counts are right, is not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.accept import io_uring
from locality.errors import Unsupported
from locality.reads import tcp
from locality.skb import source as skb
from locality.udp import source as udp
from tests.unit.bpf.made_up_btf import MadeUp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.bpf.btf import Btf
    from locality.bpf.ladder import Rung

#: What all of them have.
OLDEST = MadeUp(
    functions=frozenset({"skb_consume_udp", "__udp_enqueue_schedule_skb", "__kfree_skb_defer"}),
    tracepoints={
        "consume_skb": 1,
        "kfree_skb": 2,
        "tcp_rcv_space_adjust": 1,
        "io_uring_complete": 4,
        "io_uring_submit_sqe": 7,
    },
    members={"sk_buff": ("len",)},
)
#: Mainline's 5.15, which Ubuntu 22.04 has.
V5_15 = OLDEST.having("bpf_task_pt_regs")
#: With 68822bdf76f1 of 5.19, and io_uring's tracepoints as of 6.1.
V6_1 = MadeUp(
    V5_15.functions | {"skb_attempt_defer_free"},
    {**V5_15.tracepoints, "kfree_skb": 3, "io_uring_complete": 7, "io_uring_task_add": 2}
    | {"io_uring_submit_sqe": 2},
    {"sk_buff": ("len", "alloc_cpu")},
)
#: Mainline's 6.6 and 6.8, which Ubuntu 24.04 has.
V6_6 = MadeUp(
    V6_1.functions | {"bpf_rdonly_cast"},
    {name: count for name, count in V6_1.tracepoints.items() if name != "io_uring_submit_sqe"}
    | {"consume_skb": 2, "sock_recv_length": 3, "sk_data_ready": 1, "io_uring_submit_req": 1},
    V6_1.members,
)

KERNELS = {
    # RHEL 8: BTF, ring buffers and trampolines were put back, the network stack is old.
    "4.18 with BPF of 5.15": V5_15,
    "4.18 with BPF of 5.10": OLDEST,
    # RHEL 9: which of the network stack's changes were put back differs from release to release.
    "5.14 with the network stack of 5.14": V5_15.having("bpf_rdonly_cast"),
    "5.14 with the network stack of 6.1": V6_1.having("bpf_rdonly_cast"),
    "5.14 with the network stack of 6.6": V6_6,
    "5.15": V5_15,
    "6.6": V6_6,
}


def answers(rungs: Sequence[Rung], kernel: Btf) -> dict[str, str]:
    """For each rung: that it has programs to try, or why not."""
    said = {}
    for rung in rungs:
        try:
            said[rung.name] = "tried" if rung.programs(kernel) else "nothing to load"
        except Unsupported as refusal:
            said[rung.name] = str(refusal)
    return said


TRIED = {"fentry": "tried", "kprobe": "tried", "raw-tracepoint": "tried"}
NO_ALLOC_CPU = TRIED | {
    "raw-tracepoint": "this kernel's sk_buff does not say where it was allocated (alloc_cpu), and "
    "tracepoints do not show it"
}
NO_LENGTH = TRIED | {"raw-tracepoint": "this kernel has no tracepoint sock_recv_length (6.3)"}


@pytest.fixture(autouse=True)
def kallsyms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kernel's flush functions are not this one's, but somewhere."""
    monkeypatch.setattr(skb, "_flush_ranges", lambda: [(1, 2)])


# Bugs: a version decides and not what the kernel has, so that RHEL's 5.14 with the network stack of
# 6.6 is taken for an old one, or its 4.18 for one without BTF; a refusal that does not say why.
@pytest.mark.parametrize(
    ("name", "of_skb", "of_udp"),
    [
        ("4.18 with BPF of 5.10", NO_ALLOC_CPU, NO_LENGTH),
        ("4.18 with BPF of 5.15", NO_ALLOC_CPU, NO_LENGTH),
        ("5.14 with the network stack of 5.14", NO_ALLOC_CPU, NO_LENGTH),
        ("5.14 with the network stack of 6.1", TRIED, NO_LENGTH),
        ("5.14 with the network stack of 6.6", TRIED, TRIED),
        ("5.15", NO_ALLOC_CPU, NO_LENGTH),
        ("6.6", TRIED, TRIED),
    ],
)
def test_the_ladders(name: str, of_skb: dict[str, str], of_udp: dict[str, str]) -> None:
    kernel = KERNELS[name].btf()
    assert answers(skb.RUNGS, kernel) == of_skb
    assert answers(udp.RUNGS, kernel) == of_udp
    assert answers(tcp.RUNGS, kernel) == {"raw-tracepoint": "tried"}


# Bug: where an sk_buff does not say where it was allocated, nothing remembers that, and every
# packet is of an unknown CPU.
def test_where_packets_were_allocated_is_remembered_where_they_do_not_say() -> None:
    old, new = (
        {rung.name: rung for rung in skb.RUNGS}["fentry"].programs(KERNELS[name].btf())
        for name in ("4.18 with BPF of 5.15", "5.14 with the network stack of 6.6")
    )
    assert {f"fexit_{name}" for name in skb.MAKERS} <= set(old)
    assert not {f"fexit_{name}" for name in skb.MAKERS} & set(new)


# Bug: programs for tracepoints of another shape are loaded, which is refused, or worse is not.
@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("5.15", None),
        ("5.14 with the network stack of 6.1", {"submit_sqe", "task_add", "complete_with_values"}),
        ("6.6", {"submit_req", "task_add", "complete_with_values"}),
    ],
)
def test_io_uring(name: str, programs: set[str] | None) -> None:
    kernel = KERNELS[name].btf()
    if programs is None:
        with pytest.raises(Unsupported, match="tracepoints do not show the request"):
            io_uring.programs(kernel)
    else:
        assert set(io_uring.programs(kernel)) == programs
