"""Run a loaded program once, here and now, attached to nothing (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, NamedTuple

from locality.bpf.libbpf import lib
from locality.errors import Unsupported

if TYPE_CHECKING:
    from locality.bpf.object import Object

_ROOM = 1 << 16


class Options(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf's bpf.h, up to the last field used."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class Outcome(NamedTuple):
    """What a program made of a packet."""

    answer: int
    packet: bytes


def on_packet(obj: Object, program: str, packet: bytes, times: int = 1) -> Outcome:
    """Run a program of XDP on a packet.

    Args:
        obj: Loaded.
        program: Its C function.
        packet: From the Ethernet header on, which the kernel wants whole: 14 bytes.
        times: Run it so often, each time on what the time before left.

    Raises:
        Unsupported: The kernel refused; too short a packet is one reason.
    """
    given, out = (
        ctypes.create_string_buffer(packet, len(packet)),
        ctypes.create_string_buffer(_ROOM),
    )
    options = Options(
        sz=ctypes.sizeof(Options),
        data_in=ctypes.addressof(given),
        data_size_in=len(packet),
        data_out=ctypes.addressof(out),
        data_size_out=len(out),
        repeat=times,
    )
    fd = lib.bpf_program__fd(obj.programs[program])
    if lib.bpf_prog_test_run_opts(fd, ctypes.byref(options)) < 0:
        answer = os.strerror(ctypes.get_errno())
        raise Unsupported(
            f"the kernel refused to run {program} on {len(packet)} bytes: {answer}", answer=answer
        )
    return Outcome(int(options.retval), out.raw[: options.data_size_out])
