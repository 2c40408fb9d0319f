"""Accepted connections on the running kernel, against what the accepting program knows of them.

Every test runs on each rung that this kernel allows, or on the one that LOCALITY_RUNG names. The
machine may accept other connections meanwhile: what could be disturbed is filtered by pid.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.accept.batch import ACCEPT, WAIT_KNOWN
from locality.accept.source import RUNGS, AcceptSource, Filter
from locality.machine.syscalls import number
from tests.live.helpers.rungs import ASKED, check_ladder, parametrize, stand_on, to_stand_on
from tests.live.helpers.traffic import (
    CPUS,
    EMULATED,
    HERE,
    PAGE,
    PATIENCE,
    THERE,
    Accepted,
    accept,
    accept4,
    connect_and_accept,
    describe,
    from_record,
    in_thread,
    pinned,
    room,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from locality.accept.batch import Records

pytestmark = [pytest.mark.live, pytest.mark.accept]

ME = Filter(pids=(os.getpid(),))
#: How many records the smallest ring takes: 34, or 136 where pages have 16 KiB.
ROOM = room(ACCEPT)

# Emulated, a connection takes some 10 ms: enough of them for what the tests are about.
MANY = 101 if EMULATED else 1_009
CROWD = 2 * ROOM
ROUNDS = 16 if EMULATED else 50
PROCESSES, SHARED = (2, 101) if EMULATED else (4, 503)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, AcceptSource, RUNGS)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener


@pytest.fixture
def dual() -> Iterator[socket.socket]:
    """A listener for IPv6, and for IPv4 in mapped addresses."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("limitation: no IPv6 here")
    address = ("::", 0)
    with socket.create_server(
        address, family=socket.AF_INET6, backlog=128, dualstack_ipv6=True
    ) as listener:
        yield listener


def seen(records: Records) -> list[Accepted]:
    assert records.dtype == ACCEPT
    return [from_record(record) for record in records]


# A kernel on which nothing works would leave nothing to fail below. The order of the ladder:
# a better rung passed over without a reason.
@pytest.mark.core
@pytest.mark.chosen
def test_some_rung_works() -> None:
    with AcceptSource(rung=ASKED) as source:
        attachment = source.attachment
    check_ladder(attachment, RUNGS)


# Not a test of ours but a line for each rung that the tests below could not try here.
@pytest.mark.core
@pytest.mark.parametrize("rung_tried", to_stand_on(RUNGS))
def test_what_is_tried_here(rung_tried: str) -> None:
    stand_on(AcceptSource, RUNGS, rung_tried)


# A record lost, doubled or torn; a field read at a wrong offset; the two CPUs exchanged (the
# connecting CPU differs); the listening fd taken for the new one; a port in network order.
@pytest.mark.parametrize("how", [accept4, accept])
@pytest.mark.parametrize("connections", [23, pytest.param(MANY, marks=pytest.mark.core)])
def test_each_connection_once(
    rung: str,
    listener: socket.socket,
    connections: int,
    how: Callable[[socket.socket], socket.socket],
) -> None:
    with AcceptSource(ME, rung) as source:
        known = connect_and_accept(listener, connections, client_cpus=(HERE, THERE), how=how)
        batch = source.read()
    assert seen(batch.records) == known
    assert batch.lost == 0
    if HERE != THERE:
        assert len({connection.rxcpu for connection in known}) > 1, "this test shows nothing"


# What getsockopt does not tell: the thread's name, its network namespace, and the time.
def test_circumstances(rung: str, listener: socket.socket) -> None:
    with AcceptSource(ME, rung) as source:
        begin, utc = time.monotonic_ns(), time.time_ns()
        connect_and_accept(listener, 23)
        end = time.monotonic_ns()
        batch = source.read()
    records = batch.records
    assert set(records["comm"]) == {Path("/proc/thread-self/comm").read_bytes().strip()}
    assert set(records["netns"]) == {Path("/proc/self/ns/net").stat().st_ino}
    times = records["time"].astype(np.int64)
    assert begin <= times[0]
    assert times[-1] <= end
    assert (np.diff(times) >= 0).all()
    # Another clock or unit would be years off; the two clocks are read one after the other.
    assert abs(times[0] - begin - (times[0] + batch.clock_offset - utc)) < 1_000_000_000


# IPv6 addresses in full; an IPv4 connection to an IPv6 socket is IPv4, for its packets are.
def test_addresses(rung: str, dual: socket.socket) -> None:
    port = dual.getsockname()[1]
    with AcceptSource(ME, rung) as source:
        known = connect_and_accept(dual, 23, to=("::1", port))
        mapped = connect_and_accept(dual, 23, to=("127.0.0.1", port))
        records = source.read().records
    assert seen(records) == known + mapped
    assert records["family"].tolist() == [6] * 23 + [4] * 23
    loopback = {6: bytes(15) + b"\1", 4: b"\x7f\0\0\1" + bytes(12)}
    for record in records:
        address = loopback[int(record["family"])]
        assert record["laddr"].tobytes() == record["raddr"].tobytes() == address


# A server that waits in accept() when tracing begins is the normal case. A probe on the
# entry of the call, or on its return by a changed return address, misses its first connection.
@pytest.mark.core
@pytest.mark.parametrize("how", [accept4, accept])
def test_an_accept_that_was_blocked_before(
    rung: str, listener: socket.socket, how: Callable[[socket.socket], socket.socket]
) -> None:
    known: list[Accepted] = []

    def serve() -> None:
        with pinned(THERE), how(listener) as accepted:
            known.append(describe(listener, accepted, THERE))

    with in_thread(serve) as thread:
        blocked_in_accept(thread)
        with AcceptSource(ME, rung) as source:
            with pinned(HERE), socket.create_connection(listener.getsockname(), PATIENCE):
                thread.join(PATIENCE)
            records = source.read().records
    assert seen(records) == known
    assert known[0].tid == thread.native_id != os.getpid()


def blocked_in_accept(thread: threading.Thread) -> None:
    """Wait until the kernel says that the thread sleeps in accept or accept4."""
    path = Path(f"/proc/self/task/{thread.native_id}/syscall")
    deadline = time.monotonic() + PATIENCE
    calls = {str(number("accept")), str(number("accept4"))}
    while path.read_text().split()[0] not in calls:
        assert time.monotonic() < deadline, "the thread never came to accept()"
        time.sleep(0.001)


# A unix socket's memory read as if it were an inet socket's.
def test_unix_sockets_give_nothing(rung: str, listener: socket.socket, tmp_path: Path) -> None:
    with AcceptSource(ME, rung) as source:
        with socket.socket(socket.AF_UNIX) as local:
            local.bind(str(tmp_path / "socket"))
            local.listen(128)
            for _ in range(23):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(tmp_path / "socket"))
                    local.accept()[0].close()
        known = connect_and_accept(listener, 1)
        batch = source.read()
    assert seen(batch.records) == known
    assert batch.lost == 0


# Other system calls make descriptors of sockets as well; none of them accepts a connection.
# A failed accept gives none either.
def test_other_calls_give_nothing(rung: str, listener: socket.socket) -> None:
    with AcceptSource(ME, rung) as source:
        known = connect_and_accept(listener, 1)
        for _ in range(23):
            with socket.create_connection(listener.getsockname(), PATIENCE) as client:
                client.dup().close()
                listener.dup().close()
                listener.accept()[0].close()
        listener.setblocking(False)
        for _ in range(23):
            with pytest.raises(BlockingIOError):
                accept4(listener)
        batch = source.read()
    assert seen(batch.records)[:1] == known
    assert len(batch.records) == 1 + 23


# Threads that accept from the queue of a descriptor, and tell of each connection.
CHILD = """
import os, socket, sys, threading
cpu, fd = map(int, sys.argv[1:])
os.sched_setaffinity(0, {cpu})
listener = socket.socket(fileno=fd)
def serve():
    tid = threading.get_native_id()
    comm = f"acceptor-{tid}"
    with open(f"/proc/self/task/{tid}/comm", "w") as file:
        file.write(comm)
    while True:
        accepted, (_, port) = listener.accept()
        rxcpu = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)
        line = f"{os.getpid()} {tid} {comm} {cpu} {rxcpu} {fd} {accepted.fileno()} {port}\\n"
        accepted.close()
        os.write(1, line.encode())
threads = [threading.Thread(target=serve, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
os.write(1, b"ready\\n")
for thread in threads:
    thread.join()
"""


# Bugs: records mixed up between CPUs; a thread's number in place of its process's; one process's
# table of descriptors walked for another's.
def test_threads_of_several_processes(rung: str, listener: socket.socket) -> None:
    read_end, write_end = os.pipe()
    fd = str(listener.fileno())
    children = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CHILD, str(CPUS[number % len(CPUS)]), fd],
            stdout=write_end,
            pass_fds=[listener.fileno()],
        )
        for number in range(PROCESSES)
    ]
    os.close(write_end)
    try:
        with os.fdopen(read_end) as answers:
            assert [answers.readline() for _ in children] == ["ready\n"] * PROCESSES
            wanted = Filter(pids=tuple(child.pid for child in children))
            with AcceptSource(wanted, rung) as source:
                for number in range(SHARED):
                    # Pinned, so that the FIN does not change what SO_INCOMING_CPU says.
                    with pinned(CPUS[number % len(CPUS)]):
                        socket.create_connection(listener.getsockname(), PATIENCE).close()
                known = Counter(answers.readline().strip() for _ in range(SHARED))
                batch = source.read()
    finally:
        for child in children:
            child.kill()
            child.wait()
    fields = ("pid", "tid", "comm", "cpu", "rxcpu", "listen_fd", "fd", "rport")
    recorded = Counter(
        " ".join(record[name].decode() if name == "comm" else str(record[name]) for name in fields)
        for record in batch.records
    )
    assert recorded - known == Counter()
    # A kernel that lets one thread take the CPU from another in the middle of the probe does not
    # run it for that thread. It says so.
    missing = (known - recorded).total()
    assert (missing <= batch.lost, recorded.total()) == (True, SHARED - missing)
    assert missing < SHARED / 20
    assert len({line.split()[0] for line in known}) > 1, "one process took all: shows nothing"


# Each filter lets the wanted through and nothing else. It decides in the kernel: connections
# that nobody wants must not take the room of those that are wanted, so with the smallest ring
# and no reader, a crowd of them must not cost a single record.
def crowd(listener: socket.socket) -> None:
    connect_and_accept(listener, CROWD)


@pytest.mark.core
def test_pid_filter(rung: str, listener: socket.socket) -> None:
    another = os.getppid()
    with AcceptSource(Filter(pids=(another, 2**22 - 1)), rung, PAGE) as source:
        crowd(listener)
        batch = source.read()
    assert os.getpid() not in batch.records["pid"]
    assert len(batch.records) == batch.lost == 0

    with AcceptSource(Filter(pids=(another, os.getpid())), rung) as source:
        known = connect_and_accept(listener, 23)
        assert seen(source.read().records) == known


@pytest.mark.core
def test_port_filter(rung: str, listener: socket.socket) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as second,
        socket.create_server(("127.0.0.1", 0)) as third,
    ):
        ports = tuple(one.getsockname()[1] for one in (second, third))
        with AcceptSource(Filter(ports=ports), rung, PAGE) as source:
            crowd(listener)
            known = connect_and_accept(third, 7) + connect_and_accept(second, 5)
            batch = source.read()
    assert seen(batch.records) == known
    assert batch.lost == 0


# The kernel cuts names to 15 bytes; the beginning of a name is not the name.
@pytest.mark.parametrize("name", ["worker", "a-much-longer-worker-name"])
def test_comm_filter(rung: str, listener: socket.socket, name: str) -> None:
    known: dict[str, list[Accepted]] = {}

    def serve(own_name: str) -> None:
        Path("/proc/thread-self/comm").write_text(own_name)
        known[own_name] = connect_and_accept(listener, 23)

    with AcceptSource(Filter(comm=name, pids=ME.pids), rung, PAGE) as source:
        crowd(listener)
        for own_name in (name[:15], name[:5], f"x{name[:14]}", f"{name[:6]}-2"):
            with in_thread(partial(serve, own_name)):
                pass
        batch = source.read()
    assert seen(batch.records) == known[name[:15]]
    assert set(batch.records["comm"]) == {name[:15].encode()}
    assert batch.lost == 0


def test_cpu_filter(rung: str, listener: socket.socket) -> None:
    if HERE == THERE:
        pytest.skip("limitation: one CPU")
    with AcceptSource(Filter(cpu=HERE, pids=ME.pids), rung, PAGE) as source:
        crowd(listener)  # accepts on the other CPU
        known = connect_and_accept(listener, 23, accept_cpu=HERE)
        batch = source.read()
    assert seen(batch.records) == known
    assert batch.lost == 0


@pytest.mark.parametrize("family", [4, 6])
def test_family_filter(rung: str, dual: socket.socket, family: int) -> None:
    port = dual.getsockname()[1]
    addresses = {4: "127.0.0.1", 6: "::1"}
    wanted, unwanted = addresses.pop(family), *addresses.values()
    with AcceptSource(Filter(family=family, pids=ME.pids), rung, PAGE) as source:
        connect_and_accept(dual, CROWD, to=(unwanted, port))
        known = connect_and_accept(dual, 23, to=(wanted, port))
        batch = source.read()
    assert seen(batch.records) == known
    assert batch.lost == 0


# The wait is from established to accepted: measured from the SYN, the accept's own beginning
# or in microseconds it would fall out of these bounds. 50 ms is a lower bound, not a timing:
# the connection lies there for 60 ms at least, and no longer than we have known of it.
def test_time_in_the_queue(rung: str, listener: socket.socket) -> None:
    with AcceptSource(ME, rung) as source:
        before = time.monotonic_ns()
        with socket.create_connection(listener.getsockname(), PATIENCE):
            time.sleep(0.06)
            accept4(listener).close()
        after = time.monotonic_ns()
        (record,) = source.read().records
    assert record["flags"] & WAIT_KNOWN
    assert 50_000_000 <= record["wait"] <= after - before


# What the ring had no room for must be counted: a total that silently lacks connections is
# worse than none. After a reading there is room again.
@pytest.mark.core
def test_what_is_lost_is_counted(rung: str, listener: socket.socket) -> None:
    with AcceptSource(ME, rung, PAGE) as source:
        known = connect_and_accept(listener, 3 * ROOM)
        batch = source.read()
        assert 0 < len(batch.records) < 3 * ROOM
        assert len(batch.records) + batch.lost == 3 * ROOM
        assert seen(batch.records) == known[: len(batch.records)]

        known = connect_and_accept(listener, 11)
        after = source.read()
    assert seen(after.records) == known
    assert after.lost == batch.lost


# The same ring, read in time, goes around again and again: a record torn at the seam where
# the pages are mapped a second time, positions that come back to zero.
def test_around_the_ring(rung: str, listener: socket.socket) -> None:
    known: list[Accepted] = []
    records: list[Accepted] = []
    with AcceptSource(ME, rung, PAGE) as source:
        for _ in range(ROUNDS):
            known += connect_and_accept(listener, 21)
            batch = source.read()
            records += seen(batch.records)
    assert records == known
    assert batch.lost == 0


# Probes that stay behind after close() would slow the machine for ever; a second source beside
# the first must not take its records away.
def test_two_sources_and_none(rung: str, listener: socket.socket) -> None:
    with AcceptSource(ME, rung) as first:
        known = connect_and_accept(listener, 3)
        with AcceptSource(ME, rung) as second:
            known_later = connect_and_accept(listener, 5)
            assert seen(second.read().records) == known_later
        known_last = connect_and_accept(listener, 7)
        assert seen(first.read().records) == known + known_later + known_last
        first.close()
        connect_and_accept(listener, 1)
        assert len(first.read().records) == 0
