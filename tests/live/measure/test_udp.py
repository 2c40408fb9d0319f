"""Datagrams on the running kernel, against workloads that know each of theirs.

Every test looks at a port of its own, so that others' datagrams do not matter, and runs on
each rung that this kernel allows, or on the one that LOCALITY_RUNG names.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from locality.bpf import btf
from locality.udp.balance import Balance, balances
from locality.udp.probe import MAX_SOCKETS
from locality.udp.source import RUNGS, UdpFilter, UdpSource
from tests.live.helpers.commands import tracing
from tests.live.helpers.datagrams import (
    PAYLOAD,
    WAYS,
    Vector,
    drain,
    dropped,
    exchange,
    fill,
    group,
    of,
    receiver,
    sender,
    watching,
)
from tests.live.helpers.rungs import (
    ASKED,
    NO_ATOMICS,
    check_ladder,
    parametrize,
    stand_on,
    to_stand_on,
    why_not,
)
from tests.live.helpers.traffic import EMULATED, HERE, PATIENCE, THERE, in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from locality.udp.interval import UdpInterval

pytestmark = [pytest.mark.live]

COUNT = 500 if EMULATED else 3_000
#: Emulated, a case takes seconds: those that go other ways through the kernel.
KINDS_AND_WAYS = (
    [
        pytest.param("v4", "recv", marks=pytest.mark.core),
        ("v4", "spinning"),
        ("v4", "recvmmsg"),
        pytest.param("v6 connected", "recvmmsg", marks=pytest.mark.core),
    ]
    if EMULATED
    else [
        *(("v4", way) for way in WAYS),
        *product(("v6", "v4 connected", "v6 connected"), ("recv", "recvmmsg")),
    ]
)
two_cpus = pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, UdpSource, RUNGS)


def require_atomics() -> None:
    """Skip on a kernel whose BPF cannot add and learn what was there: it says so (5.12)."""
    answers = [str(why_not(UdpSource, rung.name) or "") for rung in RUNGS]
    if any(NO_ATOMICS in answer for answer in answers) and all(answers):
        pytest.skip(f"limitation: {answers[0]}")


# A kernel on which nothing works would leave nothing to fail below.
@pytest.mark.core
@pytest.mark.chosen
def test_some_rung_works() -> None:
    require_atomics()
    with UdpSource(rung=ASKED) as source:
        attachment = source.attachment
        interval = source.read()
    assert interval.rung == attachment.rung.name
    check_ladder(attachment, RUNGS)


# Not a test of ours but a line for each rung that the tests below could not try here.
@pytest.mark.core
@pytest.mark.udp
@pytest.mark.parametrize("rung_tried", to_stand_on(RUNGS))
def test_what_is_tried_here(rung_tried: str) -> None:
    stand_on(UdpSource, RUNGS, rung_tried)


# The measure itself. Bugs: the CPU of the tracepoint for the datagram's; the head of the queue
# off by one, so that of two CPUs each is taken for the other's; a read that waits, spins or
# takes several at once is missed or counted twice; IPv6 or connected sockets are passed over.
@pytest.mark.udp
@two_cpus
@pytest.mark.parametrize("place", ["same", "cross"])
@pytest.mark.parametrize(("kind", "way"), KINDS_AND_WAYS)
def test_locality(rung: str, kind: str, way: str, place: str) -> None:
    family = socket.AF_INET if kind.startswith("v4") else socket.AF_INET6
    reader_cpu, sender_cpu = (HERE, HERE) if place == "same" else (HERE, THERE)
    with receiver(family) as to, sender(to) as by:
        if "connected" in kind:
            to.connect(by.getsockname())
        with watching(to.port, rung=rung) as source:
            exchange(to, by, COUNT, reader_cpu=reader_cpu, sender_cpu=sender_cpu, way=way)
            interval = source.read()
        row = of(to, interval)
    assert row["datagrams"] == COUNT
    assert row["bytes"] == COUNT * len(PAYLOAD)
    assert row["drops"] == row["refused"] == row["queued"] == interval.lost == 0
    if way == "recvmmsg":
        assert row["batched"] == (COUNT if interval.batches_seen else 0)
    assert 0.98 * COUNT <= row["known"] <= COUNT
    if place == "same":
        assert row["local"] >= 0.99 * row["known"]
    else:
        assert row["local"] <= 0.01 * row["known"]
    assert interval.matrix.sum() == row["known"]
    assert interval.matrix[sender_cpu, reader_cpu] >= 0.99 * row["known"]


# Bug: senders on both CPUs are told from each other only while the queue is empty.
@pytest.mark.udp
@two_cpus
def test_the_queue_holds_datagrams_of_both_cpus(rung: str) -> None:
    with receiver() as to, sender(to) as by, watching(to.port, rung=rung) as source:
        cpus = os.sched_getaffinity(0)
        try:
            for number in range(300):
                os.sched_setaffinity(0, {THERE if number % 3 == 0 else HERE})
                by.send(PAYLOAD)
            os.sched_setaffinity(0, {HERE})
            assert drain(to) == 300
        finally:
            os.sched_setaffinity(0, cpus)
        interval = source.read()
        row = of(to, interval)
    assert (row["datagrams"], row["known"], row["local"]) == (300, 300, 200)
    assert interval.matrix[THERE, HERE] == 100


# Bugs: sockets of one port are mixed up; a member's index is not the group's; members that get
# nothing are left out, and four sockets of which one works look even.
@pytest.mark.core
@pytest.mark.udp
def test_each_socket_of_a_group(rung: str) -> None:
    with group(4) as members, watching(members[0].port, rung=rung) as source:
        fill(members[0], COUNT // 10, flows=7)
        got = [drain(member) for member in members]
        interval = source.read()
        (balance,) = balances(interval)
        fill(members[0], 100)
        one = [drain(member) for member in members]
        (uneven,) = balances(source.read())
    assert sum(got) == COUNT // 10
    assert balance.sockets["datagrams"].tolist() == got
    assert balance.sockets["inode"].tolist() == [member.inode for member in members] or not (
        balance.group and balance.group.order_known
    )
    assert balance.counts.tolist() == got
    assert sorted(one) == [0, 0, 0, 100]
    assert uneven.counts.tolist() == one
    assert (uneven.imbalance, uneven.effective) == (4.0, 1.0)


# Bug: a server that starts while it is measured stays in no group for as long as the last look
# for groups was slow.
@pytest.mark.udp
def test_a_group_that_comes_later(rung: str) -> None:
    with receiver() as reserved:
        number = reserved.port
    with watching(number, rung=rung) as source, ExitStack() as stack:
        source.read()
        members = [stack.enter_context(receiver(port=number, shared=True)) for _ in range(2)]
        deadline = time.monotonic() + PATIENCE
        found = list[Balance]()
        while not (found and found[0].group) and time.monotonic() < deadline:
            fill(members[0], 10)
            found = balances(source.read())
            time.sleep(0.05)
        (one,) = found
    assert one.group is not None
    assert len(one.counts) == one.group.size == 2


# Bugs: drops of all sockets together; a drop that is counted when the queue is long, not when
# one is dropped; what was dropped is missing from the shares.
@pytest.mark.core
@pytest.mark.udp
def test_drops_are_the_kernels_own(rung: str) -> None:
    with receiver() as to, receiver() as other:
        to.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        with watching(to.port, other.port, rung=rung) as source:
            fill(to, 500)
            fill(other, 10)
            drops = dropped(to)
            waiting = source.read()
            kept = drain(to)
            assert drain(other) == 10
            read = source.read()
    assert drops > 0
    assert kept + drops == 500
    assert of(to, waiting)["drops"] == drops
    assert of(to, waiting)["queued"] == of(to, waiting)["peak"] == kept
    assert of(other, read)["drops"] == of(to, read)["drops"] == 0
    total = waiting + read
    counts = {int(one.sockets["port"][0]): one.counts.tolist() for one in balances(total)}
    assert counts == {to.port: [500], other.port: [10]}


# Bugs: only one of the queue's two parts is counted; the peak never falls again.
@pytest.mark.udp
def test_queue_depth(rung: str) -> None:
    with receiver() as to, watching(to.port, rung=rung) as source:
        fill(to, 50)
        for _ in range(20):
            to.recv(2048)
        interval = of(to, source.read())
        assert (interval["queued"], interval["peak"]) == (30, 50)
        assert interval["queued_bytes"] >= 30 * len(PAYLOAD)
        assert interval["rcvbuf"] == to.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        drain(to)
        assert of(to, source.read())["peak"] == 30
        fill(to, 5)
        drain(to)
        assert of(to, source.read())["peak"] == 5


# Bugs: calls are counted as datagrams; a call that came away with less than it had room for is
# put together with the next; recv() is taken for a batch of one.
@pytest.mark.udp
def test_batch_size(rung: str) -> None:
    vector = Vector(8)
    with receiver() as to, watching(to.port, rung=rung) as source:
        fill(to, 64)
        assert [vector.receive(to, socket.MSG_DONTWAIT) for _ in range(8)] == [8] * 8
        full = source.read()
        if not full.batches_seen:
            pytest.skip("limitation: this kernel does not show recvmmsg() calls")
        fill(to, 20)
        assert [vector.receive(to, socket.MSG_DONTWAIT) for _ in range(3)] == [8, 8, 4]
        rest = source.read()
        fill(to, 3)
        drain(to)
        plain = source.read()
        fill(to, 8)
        assert vector.receive(to) == 8
        blocking = source.read()
    assert (of(to, full)["batches"], of(to, full)["batched"]) == (8, 64)
    assert (of(to, rest)["batches"], of(to, rest)["batched"]) == (3, 20)
    assert (of(to, plain)["batches"], of(to, plain)["batched"], of(to, plain)["datagrams"]) == (
        *(0, 0),
        3,
    )
    assert (of(to, blocking)["batches"], of(to, blocking)["batched"]) == (1, 8)


# Bugs: readers of one socket overwrite each other; a datagram of unknown origin is guessed.
@pytest.mark.udp
@two_cpus
def test_two_readers_of_one_socket(rung: str) -> None:
    got: dict[int, int] = {}

    def read(stop: socket.socket, cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        tid = threading.get_native_id()
        got[tid] = 0
        while True:
            ready, _, _ = select.select([to, stop], [], [], PATIENCE)
            try:
                to.recv(2048, socket.MSG_DONTWAIT)
                got[tid] += 1
            except BlockingIOError:
                if stop in ready:
                    return

    stop, stopping = socket.socketpair()
    with receiver() as to, stop, stopping, watching(to.port, rung=rung) as source:
        with in_thread(lambda: read(stop, HERE)), in_thread(lambda: read(stop, THERE)):
            fill(to, COUNT)
            stopping.send(b"x")
        interval = source.read()
    assert sum(got.values()) == COUNT
    rows = interval.readers
    assert dict(zip(rows["tid"].tolist(), rows["datagrams"].tolist(), strict=True)) == {
        tid: count for tid, count in got.items() if count
    }
    row = of_inode(interval)
    assert row["datagrams"] == COUNT
    assert (rows["pid"] == os.getpid()).all()
    assert row["local"] <= row["known"] <= COUNT
    assert interval.matrix.sum() == row["known"]


def of_inode(interval: UdpInterval) -> Any:  # noqa: ANN401 - numpy.void
    (row,) = interval.sockets
    return row


# Bug: looking twice makes two datagrams; an empty one is none.
@pytest.mark.udp
def test_peeks_and_empty_datagrams(rung: str) -> None:
    with receiver() as to, sender(to) as by, watching(to.port, rung=rung) as source:
        by.send(PAYLOAD)
        for _ in range(3):
            to.recv(2048, socket.MSG_PEEK)
        by.send(b"")
        assert drain(to) == 2
        row = of(to, source.read())
    assert (row["datagrams"], row["known"], row["bytes"]) == (2, 2, len(PAYLOAD))


READER = """
import socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
open("/proc/self/comm", "w").write(sys.argv[2])
print(flush=True)
sys.stdin.read(1)
for _ in range(int(sys.argv[3])):
    sock.recv(2048)
print(flush=True)
sys.stdin.read(1)
"""


# Bugs: the filter is decided for the process that sends; a socket that a wanted process holds
# and nobody reads is not shown; one that another process reads is.
@pytest.mark.udp
@pytest.mark.parametrize("by", ["pid", "comm"])
def test_filter_by_reader(rung: str, by: str) -> None:
    with receiver() as to, receiver() as ours:
        command = [sys.executable, "-c", READER, str(to.fileno()), "udp <reader>", "20"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[to.fileno()]
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdout.readline()
            wanted = UdpFilter(
                pids=(child.pid,) if by == "pid" else (),
                comm="udp <reader>" if by == "comm" else None,
            )
            with UdpSource(wanted, rung=rung) as source:
                fill(to, 25)
                fill(ours, 7)
                assert drain(ours) == 7
                child.stdin.write(b"x")
                child.stdin.flush()
                child.stdout.readline()
                interval = source.read()
            child.stdin.close()
            pid = child.pid
    assert interval.sockets["inode"].tolist() == interval.readers["inode"].tolist()
    (reader,) = interval.readers
    assert (reader["pid"], reader["comm"], reader["datagrams"]) == (pid, b"udp <reader>", 20)


MEMBER = """
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
sock.bind(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
sys.stdin.read(1)
"""


# Bugs: the members of other processes count as idle, or the group looks as if it had no others;
# a member that is held and never read is left out.
@pytest.mark.udp
def test_a_group_of_several_processes(rung: str) -> None:
    with receiver(shared=True) as ours:
        command = [sys.executable, "-c", MEMBER, str(ours.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with UdpSource(UdpFilter(pids=(child.pid,)), rung=rung) as source:
                fill(ours, 64, flows=64)
                ours_got = drain(ours)
                (theirs,) = balances(source.read())
                (still,) = source.read().sockets
            with watching(ours.port, rung=rung) as source:
                (both,) = balances(source.read())
            child.terminate()
    assert theirs.group is not None
    assert theirs.group.size == 2
    (row,) = theirs.sockets
    assert row["inode"] != ours.inode
    assert row["datagrams"] == 0
    assert len(both.sockets) == 2
    if btf.kernel().tracepoint_arguments("sk_data_ready") is not None:
        # Also in an interval in which nothing came.
        assert row["queued"] == still["queued"] == 64 - ours_got > 0


# Bug: the port is compared in the wrong byte order, or the sender's is taken.
@pytest.mark.core
@pytest.mark.udp
def test_filter_by_port(rung: str) -> None:
    with receiver() as to, receiver() as other, watching(to.port, rung=rung) as source:
        for sock in (to, other):
            fill(sock, 5)
            drain(sock)
        interval = source.read()
    assert interval.sockets["port"].tolist() == [to.port]
    assert interval.sockets["datagrams"].tolist() == [5]


# Bugs: a table that is full refuses all that come later, or gives their counts to others.
@pytest.mark.udp
def test_rows_of_closed_sockets_are_used_again(rung: str) -> None:
    def churn(count: int) -> None:
        for _ in range(count):
            with socket.socket(type=socket.SOCK_DGRAM) as own:
                own.bind(("127.0.0.1", number))
                own.sendto(PAYLOAD, own.getsockname())
                own.recv(2048)

    with receiver() as reserved:
        number = reserved.port
    with watching(number, rung=rung) as source:
        churn(MAX_SOCKETS - 500)
        first = source.read()
        for _ in range(4):
            source.read()
        churn(MAX_SOCKETS - 500)
        second = source.read()
        churn(1000)
        full = source.read()
    for interval in (first, second):
        assert interval.lost == 0
        assert interval.sockets["datagrams"].tolist() == [1] * (MAX_SOCKETS - 500)
    assert full.sockets["datagrams"].sum() < 1000
    assert full.lost > 0
    assert full.sockets["datagrams"].max() == 1


# Bugs: figures of a format that are not those of the traffic; a cure of another port; a line that a
# terminal breaks; a traceback at Ctrl-C.
@pytest.mark.chosen
def test_command(tmp_path: Path) -> None:
    require_atomics()
    with group(2) as members:
        arguments = ("udp", "--port", members[0].port, "--interval", 0.2, "--sample", 1)
        for format_ in ("json", "text", "csv"):
            with tracing(tmp_path, *arguments, "--format", format_) as process:
                fill(members[0], 100)
                assert sum(map(drain, members)) == 100
                process.send_signal(2)
                out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, err
            if format_ == "json":
                sockets = [
                    one
                    for line in out.splitlines()
                    for entry in json.loads(line)["groups"]
                    for one in entry["sockets"]
                ]
                assert sum(one["datagrams"] for one in sockets) == 100
                assert {one["index"] for one in sockets} == {0, 1}
            if format_ == "text":
                assert "one flow carries 100.0%" in out
                assert f"cure: locality attach-cbpf --port {members[0].port}" in out
                assert f"cure: locality spread --dev IF --port {members[0].port}" in out
                assert max(map(len, out.splitlines())) <= 80
            assert "Traceback" not in err
