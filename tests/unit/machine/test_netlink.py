"""Asking the kernel by netlink."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locality.machine import netlink
from locality.machine.ethtool import read_links


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


# Bug: padding is taken for the next attribute, or the bit "nested" for a part of the type.
@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=9)), st.booleans())
def test_attributes_are_found_again(values: dict[int, bytes], nested: bool) -> None:  # noqa: FBT001
    flag = 0x8000 if nested else 0
    message = b"".join(attribute(kind | flag, value) for kind, value in values.items())
    assert netlink.attributes(b"head" + message, 4) == values


# Bug: an attribute whose length is below that of its own header is read for ever.
@given(st.binary(max_size=40))
def test_any_bytes_come_to_an_end(message: bytes) -> None:
    netlink.attributes(message)


# Bug: names or indices are those of other fields.
def test_links_are_those_of_the_c_library() -> None:
    links = [(link.index, name) for name, link in read_links().items()]
    assert sorted(links) == sorted(socket.if_nameindex())


# Bug: a refusal of the kernel is an empty answer.
def test_a_refusal_is_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        netlink.dump(netlink.GENERIC, 0xFFF, bytes(4))


# Bug: a kernel without a family, as before Linux 6.3, is an error.
def test_a_family_that_is_not_there_has_no_objects() -> None:
    assert netlink.generic("no such family", 1) == []
    assert netlink.generic("nlctrl", 3)
