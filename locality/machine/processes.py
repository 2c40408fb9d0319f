"""Processes and threads as /proc shows them: which there are, their names and CPUs.

A thread belongs to a name if it has that name itself, or if the main thread of its process
has: ``ps`` and ``ss`` print the latter, ``ps -L``, ``top -H`` and ``locality groups`` the former.
The probes decide the same way (probes/filter.h).
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.machine.limits import PassingOver
from locality.machine.topology import online_cpus, parse_cpu_list
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROC = Path("/proc")
NAME_BYTES = 15
"""So much of a thread's name the kernel keeps."""
_SMALL = 65536
"""Bytes. Nearly every file of /proc is shorter, and given whole by one read."""


def processes(proc: Path = PROC) -> list[int]:
    """The processes of this machine, in order."""
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit())  # noqa: PTH208


def threads(pid: int, proc: Path = PROC) -> list[int]:
    """The threads of a process, the main one first; none if it has ended.

    The main thread need not have the lowest number: the kernel begins again with low numbers when
    it has given out the highest (alloc_pid() in kernel/pid.c).
    """
    with PassingOver():
        found = map(int, os.listdir(f"{proc}/{pid}/task"))  # noqa: PTH208
        return sorted(found, key=lambda tid: (tid != pid, tid))
    return []


def is_32bit(pid: int, proc: Path = PROC) -> bool:
    """Whether a process runs a 32-bit program; no where we may not know."""
    with PassingOver(), open(f"{proc}/{pid}/exe", "rb") as program:  # noqa: PTH123
        # EI_CLASS of an ELF file is ELFCLASS32: include/uapi/linux/elf.h
        return program.read(5) == b"\x7fELF\x01"
    return False


def thread_name(pid: int, tid: int, proc: Path = PROC) -> str:
    """A thread's name with all its blanks; empty if it has ended."""
    with PassingOver():
        name = _read(f"{proc}/{pid}/task/{tid}/comm")
        return name.removesuffix(b"\n").decode(errors="backslashreplace")
    return ""


def allowed_cpus(
    pid: int, tid: int, proc: Path = PROC, online: frozenset[int] | None = None
) -> frozenset[int]:
    """The online CPUs a thread may run on; none if it has ended.

    From /proc like the thread's number: sched_getaffinity() would take the number for one of
    our own pid namespace, and answer for another thread where that is not /proc's.

    Args:
        pid: The process.
        tid: The thread.
        proc: Where processes are shown.
        online: The CPUs in use now, for who asks for many threads; they are read if None.
    """
    with suppress(ValueError, IndexError), PassingOver():
        status = _read(f"{proc}/{pid}/task/{tid}/status")
        listed = status.split(b"\nCpus_allowed_list:\t")[1].partition(b"\n")[0]
        allowed = _cpus(listed.decode("ascii"))
        return allowed & (frozenset(online_cpus()) if online is None else online)
    return frozenset()


def _read(path: str) -> bytes:
    """A small file of /proc: this is read for every thread, and less work than a Path's way."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, _SMALL)
        while len(text) % _SMALL == 0 and (more := os.read(fd, _SMALL)):
            text += more
        return text
    finally:
        os.close(fd)


@cache
def _cpus(text: str) -> frozenset[int]:
    return frozenset(parse_cpu_list(text))


def require_pids(pids: Iterable[int], proc: Path = PROC) -> None:
    """Check that these processes run.

    Raises:
        LocalityError: One does not, or the number is that of a thread.
    """
    for pid in pids:
        try:
            status = (proc / str(pid) / "status").read_bytes()
        except OSError:
            raise LocalityError(f"there is no process {pid}: pgrep -a NAME finds the pid") from None
        if b"\nTgid:\t%d\n" % pid not in status:
            raise LocalityError(f"{pid} is a thread: give the pid of its process")


def require_own_proc(proc: Path = PROC) -> None:
    """Check that /proc shows the processes of our own pid namespace.

    Else its numbers are no use to pidfd_open() and the like, which would take them for those
    of other processes.

    Raises:
        LocalityError: It shows those of another one, or is not there.
    """
    try:
        shown = str((proc / "self").readlink())
    except OSError as error:
        raise LocalityError(
            f"cannot read {proc}/self: {error.strerror}; is proc mounted on /proc "
            "(mount -t proc proc /proc)?"
        ) from None
    if shown != str(os.getpid()):
        raise LocalityError(
            "/proc shows the processes of another pid namespace than ours, so its pids mean other "
            "processes here: mount one of our own (mount -t proc proc /proc, or unshare "
            "--mount-proc), or enter that namespace (nsenter --target 1 --pid --mount)"
        )


def has_thread_named(comm: str, proc: Path = PROC) -> bool:
    """Whether any thread belongs to this name now."""
    return any(True for _ in _with_thread_named(comm, proc))


def pids_with_thread_named(comm: str, proc: Path = PROC) -> set[int]:
    """The processes that have a thread of this name now."""
    return set(_with_thread_named(comm, proc))


def _with_thread_named(comm: str, proc: Path) -> Iterator[int]:
    for path in proc.glob("[0-9]*/task/*/comm"):
        with PassingOver():
            if is_named(path.read_bytes().removesuffix(b"\n"), comm):
                yield int(path.parts[-4])


def is_named(name: bytes, comm: str) -> bool:
    """Whether a thread's name is the one given: as it is, or as our outputs print it."""
    return name == os.fsencode(comm)[:NAME_BYTES] or printable(name) == comm


def name_in_kernel(comm: str, proc: Path = PROC) -> bytes:
    """The bytes by which the kernel knows a name that a user gave.

    A name that is not printable is printed with escapes, and can be given like that.
    """
    given = os.fsencode(comm)[:NAME_BYTES]
    if "\\" in comm:
        for path in proc.glob("[0-9]*/task/*/comm"):
            with PassingOver():
                name = path.read_bytes().removesuffix(b"\n")
                if name != given and printable(name) == comm:
                    return name
    return given
