"""Finding the groups of this process, and what `locality groups` prints of any."""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from locality import cbpf
from locality.reuseport import bound, descriptors
from locality.reuseport import survey as groups
from locality.reuseport.alone import Alone
from locality.reuseport.borrow import borrowed_socket
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup, Survey
from locality.reuseport.text import answers, json_lines, notes, table_lines
from locality.text import WIDTH

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:0000001F 00:00000000 00000000     0        0 599677 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D2F4 01 00000000:00000000 00:00000000 00000000     0        0 599695 1 0000000000000000 20 0 0 10 -1
"""  # noqa: E501
UDP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    1: B80D0120000000000000000001000000:0035 B80D0120000000000000000002000000:0035 01 00000000:00000000 00:00000000 00000000     0        0 21000 2 0000000000000000 0
    2: B80D0120000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21001 2 0000000000000000 0
"""  # noqa: E501

OURSELVES = os.getpid()
IPV6_V6ONLY = 26


def listener(address: str, port: int, *, shared: bool = True) -> socket.socket:
    """A listening socket with SO_REUSEPORT, or without."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_V6ONLY, 1)
    one.bind((address, port))
    one.listen(23)
    return one


@contextmanager
def group_of(size: int, address: str = "127.0.0.1", port: int = 0) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        opened: list[socket.socket] = []
        for _ in range(size):
            opened.append(stack.enter_context(listener(address, port)))
            port = opened[0].getsockname()[1]
        yield opened


def inodes(sockets: list[socket.socket]) -> list[int]:
    return [os.fstat(one.fileno()).st_ino for one in sockets]


def members(found: FoundGroup) -> list[int]:
    return sorted(member.inode for member in found.group.members)


# Bugs: an address with its bytes or its words reversed; the wrong half of the queues' column; a
# reading that goes on through all connections, or one that ends before UDP's sockets.
def test_tables() -> None:
    (tcp,) = bound.parse_sockets(TCP.splitlines(), until_connection=True)
    (udp,) = bound.parse_sockets(UDP6.splitlines())
    assert (tcp.host, tcp.port, tcp.inode, tcp.waiting, tcp.listens) == (
        *("127.0.0.1", 8080, 599677, 31, True),
    )
    assert (udp.host, udp.port, udp.inode, udp.listens) == ("[2001:db8::1]", 53, 21001, False)
    beyond = iter([*TCP.splitlines(), "this line must not be read"])
    assert len(bound.parse_sockets(beyond, until_connection=True)) == 1
    assert list(beyond) == ["this line must not be read"]


# Bugs: groups of one port thrown together, though each address has its own program; sockets
# without SO_REUSEPORT are taken for groups; a group of one is none.
def test_each_address_is_a_group() -> None:
    with group_of(2, "127.0.0.1") as v4:
        port = v4[0].getsockname()[1]
        with (
            group_of(3, "127.0.0.2", port) as other,
            group_of(1, "::1", port) as v6,
            listener("127.0.0.3", port, shared=False),
        ):
            found = groups.find(ports=[port])
            expected = [sorted(inodes(sockets)) for sockets in (v4, other, v6)]
    assert [str(one) for one in found] == [
        *(f"tcp 127.0.0.1:{port}", f"tcp 127.0.0.2:{port}", f"tcp [::1]:{port}"),
    ]
    assert [members(one) for one in found] == expected
    assert {one.netns for one in found} == {Path("/proc/self/ns/net").stat().st_ino}


# Bugs: pid and fd are of no member, so that what is attached through them goes elsewhere; the
# backlog is not that of its socket.
def test_who_lends_and_what_waits() -> None:
    with group_of(2) as sockets:
        address = sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(7)]
        (found,) = groups.find(ports=[address[1]])
        for client in clients:
            client.close()
        assert found.pid == OURSELVES
        assert found.fd in [one.fileno() for one in sockets]
    assert sum(member.backlog or 0 for member in found.group.members) == 7
    assert {member.backlog_limit for member in found.group.members} == {23}
    # Nobody asks these sockets for connections; at most we could, if we had one thread only.
    assert {w.pid for member in found.group.members for w in member.workers} <= {OURSELVES}


# Bugs: a filter that is not applied, or that keeps only the sockets it matches and not the group.
def test_selection() -> None:
    with group_of(2) as sockets, group_of(1) as others:
        port, other = (some[0].getsockname()[1] for some in (sockets, others))
        comm = Path("/proc/self/comm").read_text().strip()
        both = {f"tcp 127.0.0.1:{port}", f"tcp 127.0.0.1:{other}"}
        assert {f"{one}" for one in groups.find(pids=[OURSELVES])} >= both
        assert {f"{one}" for one in groups.find(comm=comm)} >= both
        assert [one.port for one in groups.find(ports=[other], pids=[OURSELVES])] == [other]
        assert not groups.find(ports=[port], pids=[1])
        assert not groups.find(ports=[port], comm="no thread has it")


# Bugs: a socket closed, or replaced under its number, between the look at /proc and the
# borrowing: the tool fails, or shows what it is not.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_ends_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    read = descriptors.descriptors
    with group_of(3) as sockets, group_of(1) as gone, group_of(1) as (stranger,):
        expected = {
            sockets[0].getsockname()[1]: sorted(inodes(sockets)[1:]),
            stranger.getsockname()[1]: inodes([stranger]),
        }
        ports = [*expected, gone[0].getsockname()[1]]

        def then_close(among: Collection[int]) -> descriptors.Descriptors:
            held = read(among)
            os.dup2(stranger.fileno(), sockets[0].fileno())
            gone[0].close()
            return held

        monkeypatch.setattr(descriptors, "descriptors", then_close)
        found, unasked, _ = groups.survey(ports=ports)
    assert sorted((one.port, members(one)) for one in found) == sorted(expected.items())
    assert not unasked


# Bug: a vanished socket counts as one of another user. Here it is a socket that is closed after the
# tables were read and before anyone's descriptors were: nobody holds it, and it is no secret of
# another user either.
def test_closed_before_its_holder_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    read = descriptors.descriptors
    with group_of(2) as gone:
        port = gone[0].getsockname()[1]

        def close_then(among: Collection[int]) -> descriptors.Descriptors:
            for one in gone:
                one.close()
            return read(among)

        monkeypatch.setattr(descriptors, "descriptors", close_then)
        assert groups.survey(ports=[port]) == ([], (), ())


# --- text -----------------------------------------------------------------------------------

NGINX = Member(599677, (Worker(24860, 24860, "nginx", frozenset({0})),), 0, 3, 511)
THREADS = Member(
    599678,
    tuple(Worker(30, 30 + i, "\x1b" * 4 + "x" * 10, frozenset({i, 9})) for i in range(3)),
    None,
    0,
    70000,
)
HIDDEN = Member(599679, (), None, 2, None, known=False)
CPUS = range(4)


def found_group(
    *members: Member,
    program: cbpf.Program | None = None,
    attached: bool | None = True,
    known: bool = True,
    protocol: str = "tcp",
) -> FoundGroup:
    how = "read from the kernel" if known else "counted in /proc, because BPF was refused: \x1b no"
    group = Group(members, known, attached, program, how)
    return FoundGroup(protocol, "0.0.0.0", 8080, 4026531840, 24860, 6, group)


def lines(*some: FoundGroup) -> list[str]:
    return list(table_lines(some, CPUS))


# Bugs: columns under the wrong heading; a name that acts on the terminal, or pushes the rest
# out of its column; workers that are dropped without a word.
def test_a_group_read_from_the_kernel() -> None:
    heading, columns, first, second, third, fourth, *program = lines(
        found_group(NGINX, THREADS, program=cbpf.cpu(3))
    )
    assert heading == "tcp 0.0.0.0:8080, 2 sockets, netns 4026531840, read from the kernel"
    assert columns.split() == ["index", "inode", "worker/tid", "cpus", "incoming", "backlog"]
    assert first.split() == ["0", "599677", "nginx/24860", "0", "0", "3/511"]
    assert second.split() == [
        *("1", "599678", r"\x1b\x1b\x1b\x1bxxxxxx~/30", "0,9", "-", "0/70000"),
    ]
    assert [row.split() for row in (third, fourth)] == [
        [r"\x1b\x1b\x1b\x1bxxxxxx~/31", "1,9"],
        [r"\x1b\x1b\x1b\x1bxxxxxx~/32", "2,9"],
    ]
    assert len(first) == len(second) == len(columns) == WIDTH
    assert program == [
        "  program: cpu % 3",
        *("    l0: ld cpu", "    l1: mod #3", "    l2: ret a"),
        "  CPU 0,3 -> index 0, CPU 1 -> index 1, CPU 2 -> hash",
    ]


# Bugs: what is not known is shown as if it were: an order, an unset SO_INCOMING_CPU, no program.
def test_a_group_that_was_counted() -> None:
    heading, _, row, program = lines(found_group(HIDDEN, known=False, attached=None))
    assert heading == "tcp 0.0.0.0:8080, 1 socket, netns 4026531840, counted, in no order"
    assert row.split() == ["?", "599679", "?", "?", "?", "2/?"]
    assert program == "  program: ?"
    (parsed,) = map(json.loads, json_lines([found_group(HIDDEN, known=False, attached=None)]))
    assert (parsed["attached"], parsed["order_known"]) == (None, False)
    assert (parsed["members"][0]["index"], parsed["members"][0]["known"]) == (None, False)


# Bug: a group with an eBPF program, or without any, is shown as one with a map.
@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (found_group(NGINX, attached=False), "  no program: the hash chooses"),
        (
            found_group(NGINX, attached=False, protocol="mptcp"),
            "  no program (MPTCP takes none): the hash chooses",
        ),
        (found_group(NGINX), "  program: eBPF, which is not shown here"),
    ],
)
def test_without_a_classic_program(one: FoundGroup, expected: str) -> None:
    assert lines(one)[-1] == expected


# Bugs: a long map makes lines wider than a terminal, or is broken inside a number, or fills
# screens; a program of others that cannot be evaluated ends the command.
def test_long_and_foreign_programs() -> None:
    indexes = {cpu: 255 - cpu for cpu in range(256)}
    shown = lines(found_group(*[NGINX] * 256, program=cbpf.table(indexes)))
    assert max(map(len, shown)) <= WIDTH
    start = shown.index(next(line for line in shown if line.startswith("  program")))
    end = shown.index("    l0: ld cpu")
    text = "".join(line.strip() for line in shown[start:end])
    assert cbpf.parse_map(text.removeprefix("program: map ")) == indexes
    assert all(line.endswith(",") for line in shown[start : end - 1])
    assert shown[-2] == "    ... 502 more, see --format json"

    copy_to_x = cbpf.Instruction(0x07, 0, 0, 0)
    foreign = cbpf.Program((copy_to_x, cbpf.Instruction(6, 0, 0, 0)))
    group = found_group(NGINX).group
    assert answers(group, foreign, CPUS).startswith("answers: ?")
    assert answers(group, cbpf.random(4), CPUS) == "any CPU -> one of 4 indexes, by random"


# Bugs: the same refusal once for each of a hundred groups; sockets that were not asked unsaid; root
# is told to become root; nobody is told which sockets are meant; thousands have no separator, as
# elsewhere.
def test_notes() -> None:
    counted = found_group(HIDDEN, known=False, attached=None)
    some = tuple(f"tcp 127.0.0.1:{port}" for port in range(7))
    said = list(notes(Survey([counted, counted, found_group(NGINX)], some, ("udp [::1]:53",))))
    assert said == [
        r"2 groups were counted in /proc, because BPF was refused: \x1b no",
        (
            "cannot tell whether 7 sockets have SO_REUSEPORT (tcp 127.0.0.1:0, tcp 127.0.0.1:1, "
            "tcp 127.0.0.1:2 and 4 more): their processes may not be inspected. Run as root to see "
            "them"
        ),
        (
            "cannot tell whether 1 socket has SO_REUSEPORT (udp [::1]:53): no process that can be "
            "seen here holds it (it may be in another PID namespace)"
        ),
    ]
    assert list(notes(Survey([counted], some[:1]))) == [
        r"1 group was counted in /proc, because BPF was refused: \x1b no",
        (
            "cannot tell whether 1 socket has SO_REUSEPORT (tcp 127.0.0.1:0): its process may not "
            "be inspected. Run as root to see it"
        ),
    ]
    (many,) = notes(Survey([], some * 200))
    assert many.startswith("cannot tell whether 1,400 sockets have SO_REUSEPORT (")
    assert " and 1,397 more): " in many
    (as_root,) = notes(Survey([], some[:1]), sees_all=True)
    assert as_root.endswith("its process may not be inspected")
    assert not list(notes(Survey([found_group(NGINX)])))


# Bug: of sockets whose process is not to be seen it is said that it may not be inspected, where it
# is somewhere else.
@pytest.mark.parametrize("sees_all", [False, True])
def test_sockets_that_nobody_here_holds(monkeypatch: pytest.MonkeyPatch, *, sees_all: bool) -> None:
    nobody = np.array([], np.uint64)
    held = descriptors.Descriptors(descriptors.Holders(nobody, nobody, nobody, []), {})
    monkeypatch.setattr(descriptors, "descriptors", lambda _among: held)
    monkeypatch.setattr(descriptors, "sees_everybody", lambda: sees_all)
    with group_of(1) as (one,), group_of(2) as two:
        port = one.getsockname()[1]
        found = groups.survey(ports=[port, two[0].getsockname()[1]])
    (counted,) = found.groups
    name = f"tcp 127.0.0.1:{port}"
    assert (found.unasked, found.unheld) == (((), (name,)) if sees_all else ((name,), ()))
    expected = (
        "no process that can be seen here holds the sockets (it may be in another PID namespace)"
        if sees_all
        else "the sockets cannot be duplicated (pidfd_getfd), so whether they have SO_REUSEPORT is "
        "not known"
    )
    assert counted.group.how == f"counted in /proc, because {expected}"


# Bug: programs get other names or other answers than people.
def test_json() -> None:
    one = found_group(NGINX, THREADS, program=cbpf.table({0: 1}))
    (line,) = json_lines([one])
    parsed = json.loads(line)
    assert parsed["program"]["text"] == "map 0:1"
    assert parsed["program"]["instructions"][0] == "l0: ld cpu"
    assert (parsed["netns"], parsed["pid"], parsed["fd"]) == (4026531840, 24860, 6)
    first, second = parsed["members"]
    assert (first["index"], first["incoming_cpu"], first["backlog"]) == (0, 0, 3)
    assert second["workers"][2] == {
        "pid": 30,
        "tid": 32,
        "comm": THREADS.workers[0].comm,
        "cpus": [2, 9],
        "evidence": "waits",
    }


# Bugs: a socket that was alone is passed over after others have come to its address; a group is
# passed over; sockets that were looked at are looked at again each time.
def test_sockets_that_were_alone_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def borrow(pid: int, fd: int) -> Any:  # noqa: ANN401 - a context
        looked_at.append(fd)
        return borrowed_socket(pid, fd)

    monkeypatch.setattr("locality.reuseport.survey.borrowed_socket", borrow)
    lone = Alone()
    # SO_REUSEPORT that is set too late makes no group, until another socket comes.
    with listener("127.0.0.1", 0, shared=False) as first, group_of(2) as opened:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ports = {one.getsockname()[1] for one in (first, *opened)}
        for look in range(2):
            found = groups.find(ports=ports, pids={OURSELVES}, lone=lone)
            assert [len(one.group.members) for one in found] == [2]
            assert (first.fileno() in looked_at) == (look == 0)
            looked_at.clear()
        with listener("127.0.0.1", first.getsockname()[1]):
            found = groups.find(ports=ports, pids={OURSELVES}, lone=lone)
            assert [len(one.group.members) for one in found] == [2, 2]
