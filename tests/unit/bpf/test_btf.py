"""Layouts: what the compiled probes write is what Python reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from locality.accept.batch import ACCEPT
from locality.accept.source import Filter
from locality.bpf import btf
from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.connections.batch import CONNECTION
from locality.errors import LocalityError
from locality.skb.accounting import ROW
from locality.skb.cells import CELL

OURS = np.dtype([("time", "u8"), ("cpu", "u4"), ("rxcpu", "i4"), ("comm", "S16")])


def changed(**fields: Any) -> np.dtype[Any]:  # noqa: ANN401 - whatever np.dtype takes
    names = ["time", "cpu", "rxcpu", "comm"]
    layout = {"names": names, "formats": ["u8", "u4", "i4", "S16"], "offsets": [0, 8, 12, 16]}
    return np.dtype({**layout, "itemsize": 32, **fields})  # type: ignore[no-any-return,call-overload]


# The guard that the whole package stands on: a probe compiled from another version of its
# source would otherwise be read as numbers that look right.
@pytest.mark.parametrize(
    ("probe", "struct", "expected"),
    [
        ("accept_cpu", "accept_event", ACCEPT),
        ("connections", "connection", CONNECTION),
        ("skb_alloc_free", "cell", CELL),
        ("skb_alloc_free", "row", ROW),
    ],
)
def test_the_compiled_probes_have_our_layout(
    probe: str, struct: str, expected: np.dtype[Any]
) -> None:
    with Object.open(probe) as obj:
        actual = obj.btf.struct(struct)
        check_layout(expected, actual, struct)
        assert actual == expected


# The same layout described in two ways must not be refused.
def test_equal_layouts_pass() -> None:
    check_layout(OURS, changed(), "event")


# An error that does not name the field leaves one searching; a difference that is not
# noticed (sign, array length, offset, one field more) gives wrong numbers in silence.
@pytest.mark.parametrize(
    ("theirs", "complaint"),
    [
        (
            changed(formats=["u8", "u8", "i4", "S16"]),
            r"event\.cpu is uint64 at byte 8 in .* uint32",
        ),
        (changed(formats=["u8", "u4", "u4", "S16"]), r"event\.rxcpu is uint32 .* int32"),
        (changed(formats=["u8", "u4", "i4", "S8"]), r"event\.comm is .*S8"),
        (changed(offsets=[0, 12, 8, 16]), r"event\.cpu is uint32 at byte 12 in .* at byte 8 here"),
        (changed(names=["time", "cpu", "rx_cpu", "comm"]), r"event\.rxcpu is missing in"),
        (np.dtype([*OURS.descr, ("flags", "u8")]), r"event\.flags is uint64 .* missing here"),
        (np.dtype([("time", "u8"), ("cpu", "u4")]), r"event\.rxcpu is missing in"),
        (changed(itemsize=40), "event has 40 bytes in the compiled probe but 32 here"),
    ],
)
def test_a_mismatch_names_the_field(theirs: np.dtype[Any], complaint: str) -> None:
    with pytest.raises(LocalityError, match=complaint):
        check_layout(OURS, theirs, "event")


# A constant under another name than the probe's would be left at its default: the filter
# would let everything through.
def test_the_filter_has_names_the_probe_knows() -> None:
    Object.open("accept_cpu", Filter(comm="x", pids=(1,), ports=(1,)).rodata()).close()
    with pytest.raises(LocalityError, match=r"accept_cpu has no constant only_pid$"):
        Object.open("accept_cpu", {"only_pid": 1})


# A name that does not exist is a question of the build, not a crash in numpy.
def test_what_the_object_does_not_have() -> None:
    with pytest.raises(LocalityError, match=r"no_such_probe\.\w+\.bpf\.o was not built"):
        Object.open("no_such_probe")
    with Object.open("accept_cpu") as obj:
        with pytest.raises(LocalityError, match="no struct no_such_event"):
            obj.btf.struct("no_such_event")
        with pytest.raises(LocalityError, match=r"no section \.no_such"):
            obj.btf.section(".no_such", 8)
        with pytest.raises(LocalityError, match="has no program no_such_program"):
            obj.select(["fentry_fd_install", "no_such_program"])
        with pytest.raises(LocalityError, match="has no map no_such_map"):
            obj.map_entries("no_such_map")


# Pointers, pointers to oneself, and a union, which no flat dtype can stand for.
def test_dtypes_of_kernel_types() -> None:
    kernel = btf.kernel()
    assert kernel.struct("list_head") == np.dtype([("next", "u8"), ("prev", "u8")])
    with pytest.raises(LocalityError, match="no numpy equivalent"):
        kernel.struct("in6_addr")


# skb_iif lies in an anonymous struct of an anonymous union: not looking there, every kernel
# would be refused for want of alloc_cpu. Looking into named ones too would find anything.
def test_members_inside_anonymous_unions() -> None:
    kernel = btf.kernel()
    assert kernel.has_member("sk_buff", "skb_iif")
    assert kernel.has_member("sk_buff", "len")
    assert not kernel.has_member("sk_buff", "no_such_member")
    assert not kernel.has_member("sock", "skc_family")  # it is __sk_common.skc_family
    assert not kernel.has_member("no_such_struct", "len")


# Off by one here, and a probe reads an argument that the tracepoint does not have. These
# counts have been the same in all kernels there are.
def test_arguments_of_tracepoints() -> None:
    kernel = btf.kernel()
    assert kernel.tracepoint_arguments("sys_exit") == 2
    assert kernel.tracepoint_arguments("kmem_cache_free") in {2, 3}
    assert kernel.tracepoint_arguments("no_such_tracepoint") is None


# A program on a function that does not exist is refused with a riddle; asking must answer.
def test_functions() -> None:
    assert btf.kernel().has_function("kfree_skbmem")
    assert not btf.kernel().has_function("no_such_function")
    assert not btf.kernel().has_function("sk_buff")  # a struct
