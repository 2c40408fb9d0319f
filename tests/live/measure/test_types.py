"""The running kernel's types, mapped or read."""

from __future__ import annotations

import pytest

from locality.bpf import btf
from locality.bpf.btf import Btf, Kind
from locality.bpf.libbpf import lib
from tests.live.helpers.rungs import ASKED

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]


# Bug: what is mapped is cut short, or is read where the mapping is gone already.
@pytest.mark.core
def test_mapped_types_are_those_that_are_read() -> None:
    handles = [lib.btf__load_vmlinux_btf(), btf.mapped_types()]
    if not handles[1]:
        pytest.skip("limitation: this kernel does not map its types (Linux 6.16 does)")
    read, mapped = map(Btf, handles)
    for name, kind in (
        ("sk_buff", Kind.STRUCT),
        ("fd_install", Kind.FUNC),
        ("btf_trace_consume_skb", Kind.TYPEDEF),
        ("no_such_struct", Kind.STRUCT),
    ):
        assert mapped.find(name, kind) == read.find(name, kind)
    sk_buff = mapped.find("sk_buff", Kind.STRUCT)
    assert sk_buff is not None
    members = [[*types.members(types.type(sk_buff))] for types in (read, mapped)]
    assert members[0] == members[1]
    assert len(members[0]) > 10
    for handle in handles:
        lib.btf__free(handle)
