"""An eBPF program of another owner for a group of sockets: the tool knows nothing of it."""

from __future__ import annotations

import ctypes
import os
import socket

SO_ATTACH_REUSEPORT_EBPF = 52  # asm-generic/socket.h
_SOCKET_FILTER = 1  # enum bpf_prog_type of include/uapi/linux/bpf.h
_RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit
_INSTRUCTION_BYTES = 8


def attach_foreign(sock: socket.socket) -> None:
    """Give the group of a socket of this process a program that selects index 0.

    Raises:
        OSError: The kernel refuses it.
    """
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    count = ctypes.c_size_t(len(_RETURN_0) // _INSTRUCTION_BYTES)
    program = libbpf.bpf_prog_load(_SOCKET_FILTER, b"not_ours", b"GPL", _RETURN_0, count, None)
    if program < 0:
        raise OSError(-program, os.strerror(-program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, program)
    finally:
        os.close(program)
