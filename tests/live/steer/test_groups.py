"""Groups of real servers, as the kernel has them and as far as they can be seen without BPF."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locality import cbpf
from locality.attach_cbpf import attach
from locality.lab.namespaces import namespace
from locality.lab.nginx import PORT, run_nginx
from locality.reuseport import survey as groups
from locality.reuseport.group import kernel_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.reuseport.survey import FoundGroup

pytestmark = pytest.mark.live

CPUS = sorted(os.sched_getaffinity(0))
IPPROTO_MPTCP = 262
WIDTH = 80

# What it takes to load a program, and to reach into processes of others.
BPF = "-bpf,-perfmon,-sys_admin"
REACH = "-sys_ptrace"

# One group of our own, then what the command finds: both in a process without capabilities.
FIND_OWN = """
import json, socket, sys, threading, time
from locality.reuseport import survey as groups
own = [socket.create_server(("127.0.0.1", 0), reuse_port=True)]
own.append(socket.create_server(own[0].getsockname(), reuse_port=True))
for one in own:
    threading.Thread(target=one.accept, daemon=True).start()
time.sleep(0.5)
found = groups.find(ports=[own[0].getsockname()[1], int(sys.argv[1])])
print(json.dumps([[g.address, g.pid, g.group.order_known,
                   [[m.known, m.backlog, m.backlog_limit, len(m.workers)] for m in g.group.members]]
                  for g in found]))
"""


# A group of its own in a process that may not call pidfd_getfd, as many containers may not: a
# seccomp filter answers with EPERM.
WITHOUT_BORROWING = """
import ctypes, json, socket, struct, threading, time
from locality.reuseport import survey as groups
own = [socket.create_server(("127.0.0.1", 0), reuse_port=True)]
own.append(socket.create_server(own[0].getsockname(), reuse_port=True))
for one in own:
    threading.Thread(target=one.accept, daemon=True).start()
time.sleep(0.5)
loads, jumps, returns = 0x20, 0x15, 0x06
refuse, allow = 0x00050001, 0x7fff0000
filters = ctypes.create_string_buffer(struct.pack("=" + 4 * "HBBI",
    loads, 0, 0, 0, jumps, 0, 1, 438, returns, 0, 0, refuse, returns, 0, 0, allow))
prctl = ctypes.CDLL(None).prctl
assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert prctl(22, 2, struct.pack("@HP", 4, ctypes.addressof(filters))) == 0  # PR_SET_SECCOMP
(found,) = groups.find(ports=[own[0].getsockname()[1]])
print(json.dumps([found.pid, found.group.order_known,
                  [[m.known, m.backlog, len(m.workers)] for m in found.group.members]]))
"""


@contextmanager
def group_of(
    size: int,
    address: str = "127.0.0.1",
    port: int = 0,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    protocol: int = 0,
) -> Iterator[list[socket.socket]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        opened: list[socket.socket] = []
        for _ in range(size):
            one = stack.enter_context(socket.socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((address, port))
            port = one.getsockname()[1]
            if kind == socket.SOCK_STREAM:
                one.listen(31)
            opened.append(one)
        yield opened


@contextmanager
def group_of_mptcp(size: int) -> Iterator[list[socket.socket]]:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError:
        pytest.skip("limitation: this kernel has no MPTCP")
    with group_of(size, protocol=IPPROTO_MPTCP) as sockets:
        yield sockets


def inodes(sockets: list[socket.socket]) -> list[int]:
    return [os.fstat(one.fileno()).st_ino for one in sockets]


def order(found: FoundGroup) -> list[int]:
    assert found.group.order_known
    return [member.inode for member in found.group.members]


def locality(*arguments: str, without: str = "") -> tuple[list[str], str]:
    """What `locality groups` prints, and what it says beside it."""
    limits = [f"--bounding-set={without}", f"--inh-caps={without}"] if without else []
    command = ["setpriv", *limits, sys.executable, "-m", "locality", "groups", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def served(pid: int) -> FoundGroup:
    """The only group of an nginx, once every socket of it has a worker."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        # Of this one: the machine may run others on the same port.
        (found,) = groups.find(ports=[PORT], pids=[pid], comm="nginx")
        if all(member.workers for member in found.group.members):
            return found
    raise AssertionError("no worker on every socket after 20 s")


# nginx's master holds every socket and polls none; its workers hold all of them, too. Bugs: the
# master or the wrong worker is shown; a group of another namespace is not found, or said to be
# of ours; the program is not the one attached, or the answer is not the worker's index.
def test_nginx_in_a_namespace_of_its_own() -> None:
    if len(CPUS) < 2:
        pytest.skip("limitation: needs two CPUs")
    affinity = (CPUS[1], CPUS[0])
    program = cbpf.table({CPUS[0]: 1, CPUS[1]: 0})
    with namespace() as server, run_nginx(server, affinity) as nginx:
        before = served(nginx.pid)
        assert before.pid is not None
        assert before.fd is not None
        attach(before.pid, before.fd, program)
        after = served(nginx.pid)
        netns = Path(f"/proc/{nginx.pid}/ns/net").stat().st_ino
        workers = nginx.workers()
        shown, _ = locality("--port", str(PORT), "--pid", str(nginx.pid))
        (as_json,), _ = locality("--port", str(PORT), "--pid", str(nginx.pid), "--json")

    assert (str(before), before.netns) == (f"tcp 0.0.0.0:{PORT}", netns)
    assert netns != Path("/proc/self/ns/net").stat().st_ino
    assert (before.group.attached, after.group.program) == (False, program)
    assert [[w.pid for w in member.workers] for member in after.group.members] == [
        [pid] for pid in workers
    ]
    assert [set(member.cpus) for member in after.group.members] == [{cpu} for cpu in affinity]

    assert max(map(len, shown)) <= WIDTH
    assert shown[0] == f"tcp 0.0.0.0:{PORT}, 2 sockets, netns {netns}, read from the kernel"
    assert [row.split()[2:4] for row in shown[2:4]] == [
        [f"nginx/{pid}", f"{cpu}"] for pid, cpu in zip(workers, affinity, strict=True)
    ]
    assert shown[4] == f"  program: map {CPUS[0]}:1,{CPUS[1]}:0"
    assert shown[-1].startswith(f"  CPU {CPUS[1]} -> index 0, CPU {CPUS[0]} -> index 1")
    parsed = json.loads(as_json)
    assert (parsed["netns"], parsed["program"]["text"]) == (netns, shown[4].split(": ")[1])


# Bug: the probe, loaded once, hands the program or the sockets of one group on to the next.
def test_one_reader_for_many_groups() -> None:
    with (
        group_of(2) as sockets,
        group_of(1) as others,
        socket.create_server(("127.0.0.1", 0)) as ordinary,
    ):
        read = kernel_reader()
        attach(os.getpid(), sockets[0].fileno(), cbpf.cpu(2))
        first, second, third = (read(one.fileno()) for one in (sockets[0], others[0], ordinary))
        assert [member.inode for member in second.members] == inodes(others)
    assert (first.attached, first.program) == (True, cbpf.cpu(2))
    assert (second.attached, second.program) == (False, None)
    assert (third.members, third.attached, third.program) == ((), False, None)


# Bug: addresses on one port are thrown together, and get each other's programs.
def test_each_address_has_its_own_program() -> None:
    with group_of(2, "127.0.0.1") as v4:
        port = v4[0].getsockname()[1]
        with group_of(3, "127.0.0.2", port) as other, group_of(2, "::1", port) as v6:
            attach(os.getpid(), v4[0].fileno(), cbpf.cpu(2))
            attach(os.getpid(), v6[1].fileno(), cbpf.random(2))
            found = groups.find(ports=[port])
            expected = [inodes(sockets) for sockets in (v4, other, v6)]
    assert [one.address for one in found] == ["127.0.0.1", "127.0.0.2", "[::1]"]
    assert [one.group.program for one in found] == [cbpf.cpu(2), None, cbpf.random(2)]
    assert [one.group.attached for one in found] == [True, False, True]
    assert [order(one) for one in found] == expected


# The last member moves into a hole: sorted by age or inode, every answer would be another's.
def test_order_after_a_member_has_left() -> None:
    with group_of(4) as sockets:
        first, _, third, last = inodes(sockets)
        sockets[1].close()
        (found,) = groups.find(ports=[sockets[0].getsockname()[1]])
    assert order(found) == [first, last, third]


# Bugs: UDP is left out, or gets a backlog; SO_INCOMING_CPU is shown on the wrong socket; the
# table is read up to the first connected socket only, as it may be for TCP.
def test_udp() -> None:
    with group_of(3, kind=socket.SOCK_DGRAM) as sockets:
        sockets[1].setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, CPUS[-1])
        port = sockets[0].getsockname()[1]
        with socket.socket(type=socket.SOCK_DGRAM) as connected:
            # In the table it stands before the group, in the same bucket: that of the port.
            connected.bind(("127.0.0.2", port))
            connected.connect(("127.0.0.1", port))
            (found,) = groups.find(ports=[port])
        assert order(found) == inodes(sockets)
    assert found.protocol == "udp"
    assert [member.incoming_cpu for member in found.group.members] == [None, CPUS[-1], None]
    assert {(m.backlog, m.backlog_limit) for m in found.group.members} == {(None, None)}


# Bug: two groups on one address, told apart by the interface alone, look like one or the same.
def test_bound_to_an_interface() -> None:
    with group_of(1, "0.0.0.0") as everywhere:
        port = everywhere[0].getsockname()[1]
        with socket.socket() as on_lo:
            on_lo.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            on_lo.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            on_lo.bind(("0.0.0.0", port))
            on_lo.listen()
            found = groups.find(ports=[port])
            expected = [inodes(everywhere), inodes([on_lo])]
    assert [one.address for one in found] == ["0.0.0.0", "0.0.0.0%lo"]
    assert [order(one) for one in found] == expected


# An MPTCP socket is in no group itself, the TCP listener behind it is: without that step such a
# server (Go's default) has no group at all.
def test_mptcp() -> None:
    with group_of_mptcp(2) as sockets:
        address = sockets[0].getsockname()
        with socket.create_connection(address):
            (found,) = groups.find(ports=[address[1]])
        assert (found.protocol, order(found)) == ("mptcp", inodes(sockets))
    assert sum(member.backlog or 0 for member in found.group.members) == 1
    assert {member.backlog_limit for member in found.group.members} == {31}


# One plain TCP socket is enough to attach a program for all. Bug: pid and fd are those of a
# socket that the kernel refuses it through.
def test_mptcp_and_plain_tcp_in_one_group() -> None:
    with group_of_mptcp(1) as first, group_of(1, port=first[0].getsockname()[1]) as plain:
        (found,) = groups.find(ports=[first[0].getsockname()[1]])
        assert (found.protocol, found.fd) == ("tcp", plain[0].fileno())
        assert order(found) == inodes([*first, *plain])


# Bugs: a kernel that refuses BPF ends the command, or gets an order that nobody knows; what
# can be known without it is not told.
def test_where_bpf_is_refused() -> None:
    with group_of(2) as sockets:
        address = sockets[0].getsockname()
        sockets[1].setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, CPUS[-1])
        attach(os.getpid(), sockets[0].fileno(), cbpf.cpu(2))
        clients = [socket.create_connection(address) for _ in range(5)]
        (line,), said = locality("--port", str(address[1]), "--json", without=BPF)
        shown, _ = locality("--port", str(address[1]), without=BPF)
        expected = inodes(sockets)
        for client in clients:
            client.close()
    found: dict[str, Any] = json.loads(line)
    assert "BPF was refused" in said
    assert "no CAP_BPF" in said
    assert (found["order_known"], found["attached"], found["program"]) == (False, None, None)
    assert [member["inode"] for member in found["members"]] == sorted(expected)
    assert sum(member["backlog"] for member in found["members"]) == 5
    assert {member["backlog_limit"] for member in found["members"]} == {31}
    assert {m["inode"]: m["incoming_cpu"] for m in found["members"]}[expected[1]] == CPUS[-1]
    # Nobody waits for them. We hold them: if by one thread, no other can serve them.
    for member in found["members"]:
        workers = member["workers"]
        assert workers is None or [one["evidence"] for one in workers] == ["holds"]
    assert [row.split()[0] for row in shown[2:4]] == ["?", "?"]
    assert shown[4:] == ["  program: ?"]


# A user without privileges has the group of a process of its own, and of others what anybody
# may see. Bugs: the command ends at the first process it may not look into; guesses about
# others' sockets are shown as facts; a lone listener of others is called a group.
def test_without_privileges() -> None:
    with group_of(2) as sockets, group_of(1) as alone:
        port = sockets[0].getsockname()[1]
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c"]
        with socket.create_connection(("127.0.0.1", port)):
            done = subprocess.run(
                [*command, FIND_OWN, f"{port}"], capture_output=True, text=True, check=True
            )
        shown, said = locality("--port", f"{alone[0].getsockname()[1]}", without=f"{BPF},{REACH}")
    found = {one[1] is None: one for one in json.loads(done.stdout)}
    assert len(found) == 2
    address, _, known, own = found[False]
    assert (address, known, [member[0] for member in own]) == ("127.0.0.1", False, [True, True])
    assert all(member[3] == 1 for member in own)
    address, _, known, others = found[True]
    assert (address, known, [member[0] for member in others]) == (
        *("127.0.0.1", False),
        [False] * 2,
    )
    assert sorted(member[1] for member in others) == [0, 1]
    assert {(member[2], member[3]) for member in others} == {(None, 0)}
    (line,) = shown
    assert line.startswith("no SO_REUSEPORT group found; --alone shows")
    assert "cannot tell whether 1 socket has SO_REUSEPORT" in said


# Who serves a socket is seen also where it cannot be duplicated. Bug: a socket that cannot, though
# its holder is there, passes for one that was closed.
def test_where_borrowing_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BORROWING], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [None, False, [[False, 0, 1], [False, 0, 1]]]


# Bug: nothing found ends with an error, or with nothing said.
def test_no_group() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ordinary:
        shown, said = locality("--port", f"{ordinary.getsockname()[1]}")
    assert said == ""
    assert shown[0].startswith("no SO_REUSEPORT group found")
