"""Groups as /proc shows them, and sockets of this process as they are inspected."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time

from locality.reuseport import bound, descriptors, workers
from locality.reuseport.evidence import Evidence
from locality.reuseport.target import inspect

# Captured from /proc/PID/net/tcp and udp: two groups, a connection, another user's socket.
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 599677 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 599678 1 0000000000000000 100 0 0 10 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 599690 1 0000000000000000 100 0 0 10 0
   3: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 599691 1 0000000000000000 100 0 0 10 0
   4: 0100007F:1F90 0100007F:D2F4 01 00000000:00000000 00:00000000 00000000     0        0 599695 1 0000000000000000 20 0 0 10 -1
"""  # noqa: E501
UDP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 2145: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21001 2 0000000000000000 0
 2146: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21002 2 0000000000000000 0
"""  # noqa: E501
# Captured from /proc/PID/fdinfo/FD of an nginx worker's epoll set.
EPOLL = """\
pos:\t0
flags:\t02
mnt_id:\t15
ino:\t1062
tfd:        6 events: 80000019 data:     7f3c1d2e0010  pos:0 ino:9267d sdev:8
tfd:        9 events: 80002019 data:     7f3c1d2e01d0  pos:0 ino:9267f sdev:8
"""


# Counting another address, another user or connections would refuse a right group size.
def test_only_the_same_address_and_user_counts() -> None:
    sockets = bound.parse_sockets(TCP.splitlines())
    assert bound.same_address(sockets, 599677) == {599677, 599678}
    assert bound.same_address(sockets, 599690) == {599690}
    assert bound.same_address(sockets, 599695) == set()
    assert {one.port for one in sockets} == {8080}


# Bugs: an IPv6 address is read as one of IPv4; sockets of UDP, whose state is another, do not
# count.
def test_ipv6_and_udp() -> None:
    sockets = bound.parse_sockets(UDP6.splitlines())
    assert bound.same_address(sockets, 21002) == {21001, 21002}
    assert {one.port for one in sockets} == {53}


# The set's own "ino:" line is not a target, and inodes are hexadecimal there.
def test_what_an_epoll_set_watches() -> None:
    assert descriptors.parse_epoll_targets(EPOLL) == {0x9267D, 0x9267F}
    assert descriptors.parse_epoll_targets("pos:\t0\nino:\t1062\n") == frozenset()


# Threads share every descriptor: taking the process for the worker would give one answer
# for all its sockets, and the main thread's CPUs.
def test_threads_are_told_apart_by_what_they_wait_for() -> None:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    epoll = select.epoll()
    epoll.register(listeners[1], select.EPOLLIN)

    def accept_one() -> None:
        listeners[0].accept()[0].close()

    threads = [
        threading.Thread(target=accept_one, daemon=True),
        threading.Thread(target=epoll.poll, daemon=True),
    ]
    for thread in threads:
        thread.start()
    expected = [thread.native_id for thread in threads]
    inodes = [os.fstat(listener.fileno()).st_ino for listener in listeners]
    deadline = time.monotonic() + 10
    seen: list[list[int]] = []
    while seen != [[tid] for tid in expected] and time.monotonic() < deadline:
        found = workers.find(inodes)
        seen = [[worker.tid for worker in found[inode]] for inode in inodes]
    for listener in listeners:
        socket.create_connection(listener.getsockname()).close()
    for thread in threads:
        thread.join()
    epoll.close()
    for listener in listeners:
        listener.close()
    assert seen == [[tid] for tid in expected]


# Bugs: one of several threads or processes that hold a socket passes for its worker, though none
# was seen to ask for its connections; the only one that can serve it is said not to be known.
def test_holding_a_socket_is_not_serving_it() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = os.fstat(server.fileno()).st_ino
        with subprocess.Popen(sleep, pass_fds=[server.fileno()]) as child:
            two = workers.find([inode])[inode]
            assert {holder.pid for holder in descriptors.descriptors().holders[inode]} == {
                os.getpid(),
                child.pid,
            }
            server.close()
            (only,) = workers.find([inode])[inode]
            child.kill()
    assert two == ()
    assert (only.pid, only.tid, only.evidence) == (child.pid, child.pid, Evidence.HOLDS)


# The hint for a wrong fd: the sockets of this process that do listen.
def test_inspect_describes_the_socket() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        port = server.getsockname()[1]
        listening = inspect(os.getpid(), server.fileno())
        connection = inspect(os.getpid(), client.fileno())
        assert connection.listeners[server.fileno()] == port
    assert listening.kind == "tcp"
    assert listening.address == f"127.0.0.1:{port}"
    assert (listening.listening, listening.connected, listening.reuseport) == (True, False, False)
    assert (connection.listening, connection.connected) == (False, True)


# Bug: a socket that has no port, or an address of IPv6, ends in a traceback.
def test_inspect_describes_other_families() -> None:
    with socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_INET6) as six:
        assert inspect(os.getpid(), unix.fileno()).kind == "unix"
        assert inspect(os.getpid(), six.fileno()).address == "[::]:0"
