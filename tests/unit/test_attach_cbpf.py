"""Attaching to a process's socket: what is refused and why, and what is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.attach_cbpf import attach, attached_line, detach, detached_line
from locality.errors import LocalityError
from locality.reuseport.borrow import borrowed_socket
from locality.reuseport.descriptors import descriptors
from locality.reuseport.target import inspect_all
from locality.steering import incoming_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator

SO_LOCK_FILTER = 44
ME = os.getpid()


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A UDP socket that is alone in its reuseport group."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        yield sock


def refusal(pid: int, fd: int) -> str:
    """What attach says; one line, as is everything it raises."""
    with pytest.raises(LocalityError) as caught:
        attach(pid, fd, cbpf.cpu(2))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Bugs of the tests below, each of which asks the kernel for one errno: advice is missing in the
# table; a traceback instead of a line.


@pytest.mark.parametrize("pid", [0, -1, -(2**40)])
def test_an_impossible_pid(pid: int) -> None:
    assert refusal(pid, 3).startswith(f"pidfd_open({pid}): EINVAL")
    assert "a pid is 1 or more" in refusal(pid, 3)


@pytest.mark.parametrize("pid", [2**22 + 1, 2**40])
def test_an_unknown_pid(pid: int) -> None:
    assert refusal(pid, 3).startswith(f"pidfd_open({pid}): ESRCH")


def test_a_thread_is_not_a_process() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    thread.start()
    try:
        said = refusal(thread.native_id or 0, 0)
    finally:
        stop.set()
        thread.join()
    # Newer kernels say ENOENT, older ones EINVAL; both lines must mention threads.
    assert "thread" in said


def test_a_zombie_and_a_reaped_process() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert refusal(child.pid, 0).startswith(f"pidfd_getfd({child.pid}, 0): ESRCH")
    assert refusal(child.pid, 0).startswith(f"pidfd_open({child.pid}): ESRCH")


# 2**32 + n must not be cut to the fd n of the target.
@pytest.mark.parametrize("fd", [-1, 2**20 + 1, 2**31, 2**32])
def test_a_bad_fd(fd: int) -> None:
    assert refusal(ME, fd).startswith(f"pidfd_getfd({ME}, {fd}): EBADF")
    assert f"ls -l /proc/{ME}/fd" in refusal(ME, fd)


def test_not_a_socket() -> None:
    reader, writer = os.pipe()
    try:
        assert "ENOTSOCK" in refusal(ME, reader)
        assert f"fd {reader} is" in refusal(ME, reader)
    finally:
        os.close(reader)
        os.close(writer)


def test_no_permission() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            # As nobody for good where we are root; else init is out of reach anyway.
            target = ME if os.geteuid() == 0 else 1
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            attach(target, 0, cbpf.cpu(2))
        except LocalityError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as answer:  # noqa: PTH123 - a descriptor has no path
        said = answer.read()
    os.waitpid(child, 0)
    assert "EPERM" in said
    assert "needs root or CAP_SYS_PTRACE" in said


@pytest.mark.parametrize(
    "kind",
    [
        (socket.AF_UNIX, socket.SOCK_STREAM),
        (socket.AF_INET, socket.SOCK_STREAM),
        (socket.AF_INET6, socket.SOCK_DGRAM),
    ],
)
def test_a_socket_without_reuseport(kind: tuple[int, int]) -> None:
    with socket.socket(*kind) as sock:
        assert "SO_ATTACH_REUSEPORT_CBPF): EINVAL" in refusal(ME, sock.fileno())
        assert "SO_REUSEPORT before bind()" in refusal(ME, sock.fileno())
        with pytest.raises(LocalityError, match="in no reuseport group"):
            detach(ME, sock.fileno())


def test_a_connection() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as server,
        socket.create_connection(server.getsockname()) as client,
        closing(server.accept()[0]) as accepted,
    ):
        for end in client, accepted:
            assert "not a connection" in refusal(ME, end.fileno())


def test_a_locked_socket(udp: socket.socket) -> None:
    udp.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    assert "EPERM" in refusal(ME, udp.fileno())
    assert "SO_LOCK_FILTER" in refusal(ME, udp.fileno())


# Bugs: a second program is refused; one that was taken away is still there.
def test_attach_replace_detach(udp: socket.socket) -> None:
    attach(ME, udp.fileno(), cbpf.cpu(1))
    attach(ME, udp.fileno(), cbpf.table({0: 0}))
    detach(ME, udp.fileno())
    with pytest.raises(LocalityError, match=r"ENOENT.*no program is attached"):
        detach(ME, udp.fileno())


# Bug: the process closes the socket that was looked at and opens another one, which gets its
# number, and that one is steered.
def test_another_socket_of_the_same_number(udp: socket.socket) -> None:
    checked = os.fstat(udp.fileno()).st_ino
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        attach(ME, other.fileno(), cbpf.cpu(1))
        os.dup2(other.fileno(), udp.fileno())
        for act in (
            lambda: attach(ME, udp.fileno(), cbpf.cpu(1), (checked,)),
            lambda: detach(ME, udp.fileno(), (checked,)),
            lambda: inspect_all([(ME, udp.fileno())], among=(checked,)),
        ):
            with pytest.raises(LocalityError, match=r"another socket now \(\d+\).*run the command"):
                act()
        detach(ME, other.fileno())  # it still has its program


def test_another_socket_of_the_same_number_gets_no_cpu(  # bug: as above
    udp: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = os.fstat(udp.fileno()).st_ino
    held = descriptors()
    monkeypatch.setattr(incoming_cpu, "descriptors", lambda _among: held)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        os.dup2(other.fileno(), udp.fileno())
        with pytest.raises(LocalityError, match="another socket now"):
            incoming_cpu.apply([incoming_cpu.Setting(0, checked, 0)])
        assert other.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU) == -1


# Bug: a socket that was closed meanwhile, and those before it keep their new CPU.
def test_all_sockets_get_a_cpu_or_none(udp: socket.socket) -> None:
    inode = os.fstat(udp.fileno()).st_ino
    with pytest.raises(LocalityError, match="socket 1: closed"):
        incoming_cpu.apply([incoming_cpu.Setting(0, inode, 0), incoming_cpu.Setting(1, 1, 0)])
    assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU) == -1


# A duplicate or a pidfd left open keeps a closed socket in its group: connections sent to
# it wait forever. Success and every refusal must close both.
def test_nothing_is_left_open(udp: socket.socket) -> None:
    reader, writer = os.pipe()
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, in one call
    attach(ME, udp.fileno(), cbpf.cpu(1))
    detach(ME, udp.fileno())
    with borrowed_socket(ME, udp.fileno()) as borrowed:
        assert borrowed.fileno() != udp.fileno()
        assert borrowed.getsockname() == udp.getsockname()
    refusal(ME, reader)
    refusal(ME, 2**20 + 1)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
    os.close(reader)
    os.close(writer)


# People's scripts grep for the 2017 line: byte for byte.
def test_the_classic_line() -> None:
    assert attached_line(29333, 3, 12) == (
        "[+] Pid=29333 fd=3 group_size=12 setsockopt(SO_ATTACH_REUSEPORT_CBPF)=0"
    )
    assert detached_line(29333, 3) == "[+] Pid=29333 fd=3 setsockopt(SO_DETACH_REUSEPORT_BPF)=0"


WITHOUT_LIBBPF = """
import ctypes, os, socket

load = ctypes.CDLL
def without(name, *rest, **more):
    if name and name.startswith("libbpf"):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    return load(name, *rest, **more)
ctypes.CDLL = without

from locality import cbpf
from locality.steering import attachment

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", 0))
    attachment.attach(os.getpid(), sock.fileno(), cbpf.cpu(1))
    attachment.forget_others([])
    attachment.detach(os.getpid(), sock.fileno())
"""


# Bug: without libbpf a program is attached, and then an error says that libbpf is missing.
def test_a_classic_program_needs_no_libbpf() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBBPF],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
