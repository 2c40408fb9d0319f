"""Programs of 32 bits that accept one connection, put together here: no compiler is at hand.

Each exits with the new descriptor as its status.
"""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE = 0x10000  # include/linux/security.h lets nobody map below it
HEADERS = 52 + 32  # of ELF: its header and one program header


def _i386_accept4(listen_fd: int) -> bytes:
    code = b"\xbb" + struct.pack("<I", listen_fd)  # mov ebx, listen_fd
    code += b"\x31\xc9\x31\xd2\x31\xf6"  # ecx, edx and esi are 0
    return code + b"\xb8" + struct.pack("<I", 364) + b"\xcd\x80" + _I386_EXIT


def _i386_socketcall(listen_fd: int) -> bytes:
    code = b"\x6a\x00\x6a\x00\x68" + struct.pack("<I", listen_fd)  # push 0, 0, listen_fd
    code += b"\x89\xe1\xbb" + struct.pack("<I", 5)  # mov ecx, esp; mov ebx, SYS_ACCEPT
    return code + b"\xb8" + struct.pack("<I", 102) + b"\xcd\x80" + _I386_EXIT


#: mov ebx, eax; mov eax, 1; int 0x80
_I386_EXIT = b"\x89\xc3\xb8\x01\x00\x00\x00\xcd\x80"


def _arm(number: int, listen_fd: int) -> bytes:
    # mov r0, listen_fd; r1, r2 and r3 are 0; movw r7, number; svc 0
    accept = struct.pack(
        *("<6I", 0xE3A00000 | listen_fd, 0xE3A01000, 0xE3A02000, 0xE3A03000),
        *(0xE3007000 | number, 0xEF000000),
    )
    return accept + struct.pack("<2I", 0xE3A07001, 0xEF000000)  # mov r7, 1; svc 0


#: By uname -m: machine and flags of ELF, and the ways to accept, by the name of the call.
PROGRAMS: dict[str, tuple[int, int, dict[str, Callable[[int], bytes]]]] = {
    "x86_64": (3, 0, {"accept4": _i386_accept4, "socketcall": _i386_socketcall}),
    "aarch64": (
        40,
        0x05000000,  # EF_ARM_EABI_VER5
        {"accept": lambda fd: _arm(285, fd), "accept4": lambda fd: _arm(366, fd)},
    ),
}
CALLS = tuple(PROGRAMS[platform.machine()][2])


def write_program(path: Path, call: str, listen_fd: int) -> None:
    """Write a program that accepts one connection.

    Args:
        path: The file.
        call: One of `CALLS`.
        listen_fd: The descriptor that it listens on; below 256.
    """
    machine, flags, ways = PROGRAMS[platform.machine()]
    code = ways[call](listen_fd)
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)  # 32 bits, little endian
    size = HEADERS + len(code)
    header = struct.pack(
        *("<HHIIIIIHHHHHH", 2, machine, 1, BASE + HEADERS, 52, 0, flags, 52, 32, 1, 40, 0, 0)
    )
    load = struct.pack("<8I", 1, 0, BASE, BASE, size, size, 5, 0x1000)
    path.write_bytes(ident + header + load + code)
    path.chmod(0o755)
