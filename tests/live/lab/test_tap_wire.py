"""The wire of two taps: it carries packets whole, each flow on one queue, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.lab.experiment import open_lab
from locality.lab.namespaces import Namespace, namespace
from locality.lab.network import LINK, SERVER_ADDRESS
from locality.lab.wires import PROGRAM, lay_wire, why_no_tap
from tests.live.helpers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.wires import Wire

CPUS = sorted(os.sched_getaffinity(0))[:2]
PORT = 9000
FLOWS = 64
ROUND_TRIPS = 5
PATIENCE = 20.0

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(why_no_tap()), reason=f"limitation: {why_no_tap()}"),
    pytest.mark.skipif(len(CPUS) < 2, reason="limitation: one CPU"),
]


@contextmanager
def wired(cpus: Sequence[int] = CPUS) -> Iterator[tuple[Namespace, Namespace, Wire]]:
    """Server, client, and the taps between them."""
    with (
        namespace() as server,
        namespace() as client,
        lay_wire("tap", server, client, cpus) as laid,
    ):
        yield server, client, laid


@contextmanager
def connection(
    server: Namespace, client: Namespace, kind: socket.SocketKind
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a new flow: the server's and the client's."""
    with server.joined():
        near = socket.socket(type=kind)
    with client.joined():
        far = socket.socket(type=kind)
    with near, far:
        near.settimeout(PATIENCE)
        far.settimeout(PATIENCE)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        near.bind((SERVER_ADDRESS, PORT))
        if kind is socket.SOCK_DGRAM:
            far.connect((SERVER_ADDRESS, PORT))
            near.connect(far.getsockname())
            yield near, far
            return
        near.listen()
        far.connect((SERVER_ADDRESS, PORT))
        accepted, _ = near.accept()
        with accepted:
            accepted.settimeout(PATIENCE)
            yield accepted, far


def received_on(end: socket.socket) -> int:
    """The CPU that received the last packet of a socket."""
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)


def has_ended(pid: int) -> bool:
    """Whether a process has ended; nobody may have waited for it yet."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def checksum_errors(end: Namespace) -> list[int]:
    """How many received packets of TCP and of UDP had a wrong checksum."""
    errors = []
    lines = [line.split() for line in Path(f"/proc/{end.pid}/net/snmp").read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if names[0] in {"Tcp:", "Udp:"}:
            errors.append(int(dict(zip(names, values, strict=True))["InCsumErrors"]))
    assert len(errors) == 2
    return errors


def received(end: Namespace) -> tuple[int, int]:
    """The bytes and packets that a namespace has received over the wire."""
    for line in Path(f"/proc/{end.pid}/net/dev").read_text().splitlines():
        name, _, values = line.partition(":")
        if name.strip() == LINK:
            count, packets = values.split()[:2]
            return int(count), int(packets)
    raise AssertionError(f"no {LINK}")


def devices(end: Namespace) -> list[str]:
    """The network devices of a namespace."""
    lines = Path(f"/proc/{end.pid}/net/dev").read_text().splitlines()[2:]
    return [line.partition(":")[0].strip() for line in lines]


# Bugs: the two directions of a flow are on different queues, or a flow moves to another queue, so
# that its SYN and its ACK are received on different CPUs; a thread is on another CPU than that of
# its queue; the hash uses one queue only.
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_flow_stays_on_one_cpu_both_ways(kind: socket.SocketKind) -> None:
    flows: list[set[int]] = []
    with wired() as (server, client, _):
        for _ in range(FLOWS):
            with connection(server, client, kind) as (near, far):
                seen = set()
                for _ in range(ROUND_TRIPS):
                    far.send(b"?")
                    assert near.recv(1) == b"?"
                    near.send(b"!")
                    assert far.recv(1) == b"!"
                    seen |= {received_on(near), received_on(far)}
                flows.append(seen)
    assert [len(seen) for seen in flows] == [1] * FLOWS
    for cpu in CPUS:
        # Four standard deviations around the half.
        assert FLOWS / 4 <= sum(seen == {cpu} for seen in flows) <= 3 * FLOWS / 4


# Bugs: the queues are those of other CPUs than asked for; one queue is for all CPUs.
def test_a_wire_with_one_queue_receives_on_its_cpu() -> None:
    for cpu in CPUS:
        with wired([cpu]) as (server, client, _):
            for _ in range(8):
                with connection(server, client, socket.SOCK_STREAM) as (near, far):
                    far.send(b"?")
                    assert near.recv(1) == b"?"
                    assert received_on(near) == cpu


# Bugs: bytes are lost, exchanged or cut; a checksum that was left to the card is never made, and
# the receiver drops the packet; large packets cross the wire in pieces, and cost as many calls.
def test_a_stream_arrives_whole_in_large_packets() -> None:
    payload = os.urandom(4 << 20)
    with wired() as (server, client, _):
        for side in (server, client):
            with connection(server, client, socket.SOCK_STREAM) as (near, far):
                sender, receiver = (far, near) if side is server else (near, far)
                before = received(side)
                thread = threading.Thread(target=sender.sendall, args=(payload,), daemon=True)
                thread.start()
                arrived = bytearray()
                while len(arrived) < len(payload) and (part := receiver.recv(1 << 16)):
                    arrived += part
                thread.join(PATIENCE)
                assert bytes(arrived) == payload
                count, packets = (
                    now - then for now, then in zip(received(side), before, strict=True)
                )
                assert count / packets > 4 * 1500
        assert checksum_errors(server) == checksum_errors(client) == [0, 0]


# Bug: a datagram's checksum is wrong, or its length is.
def test_datagrams_of_each_length_arrive() -> None:
    with (
        wired() as (server, client, _),
        connection(server, client, socket.SOCK_DGRAM) as (near, far),
    ):
        for length in (0, 1, 2, 3, 127, 128, 1471, 1472, 1473, 9000, 65507):
            datagram = os.urandom(length)
            for sender, receiver in ((far, near), (near, far)):
                sender.send(datagram)
                assert receiver.recv(1 << 16) == datagram
        assert checksum_errors(server) == checksum_errors(client) == [0, 0]


# Bugs: the wire's process, or its devices, outlive the block.
def test_nothing_is_left() -> None:
    with namespace() as server, namespace() as client:
        with lay_wire("tap", server, client, CPUS) as laid:
            assert laid.process is not None
            assert LINK in devices(server)
            assert LINK in devices(client)
        assert not Path(f"/proc/{laid.process.pid}").exists()
        assert LINK not in devices(server) + devices(client)


# Bug: the wire outlives a parent that was killed and could tell it nothing.
def test_the_wire_ends_with_who_started_it() -> None:
    with namespace() as server, namespace() as client:
        networks = [f"/proc/{end.pid}/ns/net" for end in (server, client)]
        wire = [str(PROGRAM), LINK, *networks, str(CPUS[0])]
        # Not in a PID namespace: its end would be the wire's, too.
        with subprocess.Popen(
            ["/bin/sh", "-c", '"$@" & echo $!; exec sleep 600', "sh", *wire],
            stdout=subprocess.PIPE,
            text=True,
        ) as parent:
            assert parent.stdout
            said = {parent.stdout.readline().strip() for _ in range(2)}
            (pid,) = map(int, said - {"ready"})
            assert LINK in devices(server)
            parent.kill()
        until(lambda: has_ended(pid))
        until(lambda: LINK not in devices(server) + devices(client))


# Bug: the wire breaks, and the load's figures are taken for those of a whole one.
def test_a_killed_wire_is_an_error() -> None:
    with pytest.raises(LocalityError, match=r"tap_wire .*: killed by signal 9$"):
        kill_the_wire()


def kill_the_wire() -> None:
    with open_lab(2, "tap") as lab:
        process = lab.wire.process
        assert process is not None
        with lab.load():
            time.sleep(0.3)
            os.kill(process.pid, signal.SIGKILL)
            process.entry.wait(PATIENCE)


# Bug: a wire that cannot be made hangs the lab, or its reason is lost.
def test_a_refusal_carries_its_reason() -> None:
    with (
        pytest.raises(LocalityError, match=r"tap_wire .*: thread on CPU 999: Invalid argument"),
        wired([CPUS[0], 999]),
    ):
        pass
