"""System calls: their numbers, and which descriptors a call waits for.

/proc/PID/task/TID/syscall shows the number and the six arguments of the call that a thread
is blocked in. What an argument means depends on the call: the first argument of accept() is
a descriptor, that of select() is the highest descriptor plus one, and that of
clock_nanosleep() is a clock. poll() and select() name their descriptors in memory of the
process, which whoever may trace it can read.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

#: Reads memory of a process: address and length in bytes to what is there; shorter if less is.
ReadMemory = Callable[[int, int], bytes]

POLLFD = struct.Struct("=ihh")  # struct pollfd of include/uapi/asm-generic/poll.h
_READABLE = 0x0001 | 0x0040  # POLLIN, POLLRDNORM
_MOST_FDS = 65536
"""Not more descriptors of one poll() or select() are looked at."""


class Names(Enum):
    """How a call names the descriptors it waits for."""

    SOCKET = "the first argument, which is read from"
    EPOLL = "the first argument, an epoll set"
    POLL = "an array of struct pollfd: its address, and how many"
    SELECT = "how many, and the address of a bit mask of those to read from"


#: How each call names the descriptors that it waits for.
NAMES: dict[str, Names] = {
    "accept": Names.SOCKET,
    "accept4": Names.SOCKET,
    "recvfrom": Names.SOCKET,
    "recvmsg": Names.SOCKET,
    "recvmmsg": Names.SOCKET,
    "read": Names.SOCKET,
    "readv": Names.SOCKET,
    "epoll_wait": Names.EPOLL,
    "epoll_pwait": Names.EPOLL,
    "epoll_pwait2": Names.EPOLL,
    "poll": Names.POLL,
    "ppoll": Names.POLL,
    "select": Names.SELECT,
    "pselect6": Names.SELECT,
}

#: Calls that have one number on every architecture (include/uapi/asm-generic/unistd.h).
_EVERYWHERE = {
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_getfd": 438,
    "epoll_pwait2": 441,
}

#: Numbers of calls, by what ``uname -m`` says: arch/x86/entry/syscalls/syscall_64.tbl, and
#: include/uapi/asm-generic/unistd.h, which arm64 uses. A call that an architecture lacks is left
#: out. probes/architecture.h repeats those that the probes compare; a test compares both.
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": _EVERYWHERE
    | {
        "read": 0,
        "poll": 7,
        "readv": 19,
        "select": 23,
        "accept": 43,
        "recvfrom": 45,
        "recvmsg": 47,
        "getpgid": 121,
        "epoll_wait": 232,
        "pselect6": 270,
        "ppoll": 271,
        "epoll_pwait": 281,
        "accept4": 288,
        "perf_event_open": 298,
        "recvmmsg": 299,
        "kcmp": 312,
        "membarrier": 324,
    },
    "aarch64": _EVERYWHERE
    | {
        "epoll_pwait": 22,
        "read": 63,
        "readv": 65,
        "pselect6": 72,
        "ppoll": 73,
        "getpgid": 155,
        "accept": 202,
        "recvfrom": 207,
        "recvmsg": 212,
        "perf_event_open": 241,
        "accept4": 242,
        "recvmmsg": 243,
        "kcmp": 272,
        "membarrier": 283,
    },
}


class Call(NamedTuple):
    """A system call and its first two arguments."""

    names: Names
    first: int
    second: int


class Waits(NamedTuple):
    """The descriptors a call waits for: sockets to read from or accept on, and epoll sets."""

    sockets: frozenset[int] = frozenset()
    epolls: frozenset[int] = frozenset()


def number(name: str, machine: str | None = None) -> int | None:
    """The number of a call on this architecture; None where it is not known.

    Args:
        name: Of the call, such as ``accept4``.
        machine: Another architecture, as ``uname -m`` says.
    """
    return NUMBERS.get(machine or platform.machine(), {}).get(name)


def numbers(machine: str | None = None) -> dict[int, Names]:
    """The calls that name descriptors on this architecture; none where it is not known.

    They are those of 64-bit programs: the numbers of a 32-bit program mean other calls.
    """
    known = NUMBERS.get(machine or platform.machine(), {})
    return {known[name]: names for name, names in NAMES.items() if name in known}


def parse_call(line: str, known: dict[int, Names]) -> Call | None:
    """The call a thread is blocked in, if it is one that names descriptors.

    Args:
        line: What /proc/PID/task/TID/syscall holds: the call's number, six arguments and two
            addresses, or ``running``, or ``-1`` and two addresses for a thread that is blocked
            outside of a call.
        known: From `numbers`.
    """
    words = line.split()
    if len(words) < 7 or not words[0].isdigit():  # noqa: PLR2004 - a number and six arguments
        return None
    names = known.get(int(words[0]))
    return names and Call(names, int(words[1], 16), int(words[2], 16))


def waits(call: Call, read: ReadMemory) -> Waits:
    """The descriptors that a call waits for.

    Args:
        call: The call.
        read: Reads memory of the process that made it.
    """
    # Registers have 64 bits, and the kernel takes an int of them.
    first, second = call.first & 0xFFFFFFFF, call.second & 0xFFFFFFFF
    match call.names:
        case Names.SOCKET:
            return Waits(sockets=frozenset({first}))
        case Names.EPOLL:
            return Waits(epolls=frozenset({first}))
        case Names.POLL:
            array = read(call.first, min(second, _MOST_FDS) * POLLFD.size)
            whole = array[: len(array) // POLLFD.size * POLLFD.size]
            polled = {fd for fd, events, _ in POLLFD.iter_unpack(whole) if events & _READABLE}
        case Names.SELECT:
            mask = read(call.second, (min(first, _MOST_FDS) + 7) // 8)
            polled = {
                8 * place + bit
                for place, byte in enumerate(mask)
                for bit in range(8)
                if byte >> bit & 1
            }
    # An epoll set can be polled as well, which says the same as waiting for it.
    chosen = frozenset(polled)
    return Waits(chosen, chosen)
