"""Network namespaces, as a user names them and as the probes compare them: by their inode."""

from __future__ import annotations

import os
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

from locality.errors import LocalityError
from locality.machine.digits import MOST_DIGITS
from locality.text import printable

PROC = Path("/proc")
#: Where ``ip netns add`` puts a name.
NAMES = Path("/run/netns")

#: PID_MAX_LIMIT of include/linux/threads.h: no process has a higher number.
_MOST_PID = 1 << 22
#: include/linux/proc_ns.h: inode numbers of namespaces begin a little below PROC_DYNAMIC_FIRST.
_LEAST_INODE = 0xEFFFFF00
_MOST_INODE = 0xFFFFFFFF
#: include/uapi/linux/nsfs.h, sched.h
_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000


def own_network_namespace() -> int:
    """The inode of the network namespace that this process is in."""
    return (PROC / "self/ns/net").stat().st_ino


def first_network_namespace() -> int | None:
    """The inode of the network namespace in which a user is taken to be: that of process 1.

    None where that may not be seen.
    """
    with suppress(OSError):
        return (PROC / "1/ns/net").stat().st_ino
    return None


def network_namespace(text: str, proc: Path = PROC, names: Path = NAMES) -> int:
    """The inode of a network namespace.

    Args:
        text: The inode itself, the pid of a process in the namespace, or a name of ``ip netns``.
        proc: Where processes are shown.
        names: Where the names are.

    Raises:
        LocalityError: There is no such process or name, it may not be seen, or it is no network
            namespace.
    """
    if not (text.isascii() and text.isdigit()):
        return _of_name(text, names)
    number = int(text) if len(text) <= MOST_DIGITS else 0
    if _LEAST_INODE <= number <= _MOST_INODE:
        return number
    if 0 < number <= _MOST_PID:
        return _of_process(number, proc)
    raise LocalityError(
        f"{_shortened(text)} is neither a pid nor the inode of a network namespace, which is "
        f"{_LEAST_INODE} or more: 'locality groups' and 'lsns -t net' show the inodes",
        exit_code=2,
    )


def _shortened(text: str) -> str:
    """A number that a user gave, not longer than a message can be."""
    return text if len(text) <= MOST_DIGITS else f"{text[:8]}…"


def _of_process(pid: int, proc: Path) -> int:
    try:
        return (proc / f"{pid}/ns/net").stat().st_ino
    except FileNotFoundError:
        raise LocalityError(f"there is no process {pid}: pgrep -a NAME finds the pid") from None
    except OSError as error:
        raise LocalityError(
            f"cannot see the network namespace of process {pid}: {error.strerror}: run as root, "
            "or with CAP_SYS_PTRACE"
        ) from None


def _of_name(name: str, names: Path) -> int:
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise LocalityError(
            f"{printable(name)!r} is no name of a network namespace: 'ip netns list' shows them",
            exit_code=2,
        )
    path = names / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LocalityError(
            f"there is no network namespace {printable(name)!r} in {names}: 'ip netns list' shows "
            "the names, and an inode or a pid can be given, too"
        ) from None
    except OSError as error:
        raise LocalityError(f"cannot open {printable(str(path))}: {error.strerror}") from None
    try:
        if ioctl(descriptor, _NS_GET_NSTYPE) == _CLONE_NEWNET:
            return os.fstat(descriptor).st_ino
    except OSError:  # a plain file: the namespace is no longer mounted on it
        pass
    finally:
        os.close(descriptor)
    raise LocalityError(f"{printable(str(path))} is not a network namespace")
