"""`locality spread` on a veth pair: one 4-tuple, four sockets, and the receiver's own counts."""

from __future__ import annotations

import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.lab.namespaces import namespace
from tests.live.helpers import spread_reference as reference
from tests.live.helpers.commands import LOCALITY, tracing
from tests.live.helpers.rungs import ASKED
from tests.live.helpers.traffic import PATIENCE
from tests.live.helpers.udp_cable import (
    ADDRESSES,
    BURST,
    PORT,
    SOURCE,
    Cable,
    drain,
    exchange,
    group,
    open_cable,
    payload,
    sender,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]

UDP_SEGMENT, SEGMENT, TRAIN = 103, 992, 8
# struct tpacket_auxdata of linux/if_packet.h
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4

#: VLANs, with other addresses of the same kind.
TAGGED = {"one tag": "198.18.1.1", "two tags": "fd01::1"}


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    with open_cable() as opened:
        yield opened


@contextmanager
def spreading(cable: Cable, directory: Path, *options: object) -> Iterator[subprocess.Popen[str]]:
    """The command at the server's end, its program attached."""
    with ExitStack() as stack:
        with cable.network.at_server():
            arguments = ("spread", "--dev", "cable", "--port", PORT, *options)
            process = stack.enter_context(tracing(directory, *arguments))
        yield process


def run_there(cable: Cable, *options: object) -> subprocess.CompletedProcess[str]:
    """The command at the server's end, when it ends by itself."""
    with cable.network.at_server():
        command = [*LOCALITY, "spread", *map(str, options)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )


# Bug: the test shows nothing, for the sockets share the datagrams anyway.
def test_without_it_one_socket_gets_all(cable: Cable) -> None:
    cable.offload(checksums=True)
    address = ADDRESSES["ipv4"]
    with group(cable, address) as sockets, sender(cable, address) as client:
        received = exchange(sockets, client, wanted=1_000)
    assert sorted(received.counts)[:3] == [0, 0, 0]
    assert received.ports == {SOURCE}


# Bugs: the shares are not even; a checksum does not fit its datagram any more (made by the
# sender: the receiver adds it up; left to a device: see the next test); a byte of the payload
# is changed; a family, a mode or a tag is left out.
@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("checksums", ["left to a device", "made by the sender"])
@pytest.mark.parametrize("way", list(ADDRESSES))
def test_one_flow_reaches_all_four(
    cable: Cable, tmp_path: Path, way: str, checksums: str, mode: str
) -> None:
    cable.offload(checksums=checksums == "left to a device")
    address, before = ADDRESSES[way], cable.csum_errors()
    with (
        spreading(cable, tmp_path, "--mode", mode),
        group(cable, address) as sockets,
        sender(cable, address) as client,
    ):
        received = exchange(sockets, client)
    assert all(abs(share - 25) < 2 for share in received.shares), received.shares
    assert cable.csum_errors() == before
    assert min(received.ports) >= 1024
    # Half of the ports are not drawn by accident even once in 20,000 draws of 64512.
    assert len(received.ports) > 10_000


@pytest.fixture(scope="module")
def vlans(cable: Cable) -> Iterator[Cable]:
    """One tag on the cable, and beside it one within another."""
    for end, host in ((cable.server, 1), (cable.client, 2)):
        add = ("ip", "link", "add", "link")
        try:
            end.run(*add, "cable", "name", "tag", "type", "vlan", "id", "7")
        except LocalityError as reason:
            pytest.skip(f"limitation: this kernel has no VLANs: {reason}")
        end.run(*add, "cable", "name", "outer", "type", "vlan", "proto", "802.1ad", "id", "8")
        end.run(*add, "outer", "name", "inner", "type", "vlan", "id", "9")
        end.run("ip", "address", "add", f"198.18.1.{host}/24", "dev", "tag")
        end.run("ip", "address", "add", f"fd01::{host}/64", "dev", "inner", "nodad")
        for link in ("tag", "outer", "inner"):
            end.run("ip", "link", "set", link, "up")
    yield cable
    for end in (cable.server, cable.client):
        end.run("ip", "link", "delete", "tag")
        end.run("ip", "link", "delete", "outer")


# Bug: on a VLAN they reach one socket.
@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("way", list(TAGGED))
def test_one_flow_on_a_vlan_reaches_all_four(
    vlans: Cable, tmp_path: Path, way: str, mode: str
) -> None:
    vlans.offload(checksums=False)
    address, before = TAGGED[way], vlans.csum_errors()
    with (
        spreading(vlans, tmp_path, "--mode", mode),
        group(vlans, address) as sockets,
        sender(vlans, address) as client,
    ):
        received = exchange(sockets, client)
    assert all(abs(share - 25) < 2 for share in received.shares), received.shares
    assert vlans.csum_errors() == before


# Bugs: a tag is lost or hides the datagram; its checksum does not fit. Where the kernel has no
# VLANs, frames of our own: what arrives is seen by a packet socket, after the program.
@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tags", ["81000007", "88a8000881000009"])
def test_tagged_frames(cable: Cable, tmp_path: Path, tags: str, family: int, mode: str) -> None:
    cable.offload(checksums=False)
    frame = reference.good(family)
    frame = b"\xff" * 6 + frame[6:12] + bytes.fromhex(tags) + frame[12:]
    udp = reference.expect(frame).udp
    with ExitStack() as stack:
        stack.enter_context(spreading(cable, tmp_path, "--mode", mode))
        with cable.network.at_server():
            tap = stack.enter_context(packet_socket(0x0003))
        with cable.network.at_client():
            client = stack.enter_context(packet_socket(0))
        ports: set[int] = set()
        for _ in range(200):
            client.send(frame)
            ports.update(tagged_ports(tap, frame, udp))
        deadline = time.monotonic() + PATIENCE
        while len(ports) < 150:
            assert time.monotonic() < deadline, ports
            ports.update(tagged_ports(tap, frame, udp))


def packet_socket(ethertype: int) -> socket.socket:
    """Whole frames of the cable; 3 is all of them."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
    tap.bind(("cable", ethertype))
    tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    tap.setblocking(False)
    return tap


def tagged_ports(tap: socket.socket, frame: bytes, udp: int) -> Iterator[int]:
    """The source ports of the frames that arrived; each is what the program may make of ours."""
    while True:
        try:
            data, ancillary, _, source = tap.recvmsg(1 << 16, 256)
        except BlockingIOError:
            return
        if source[2] == socket.PACKET_OUTGOING:
            continue
        # The stack takes the outer tag out of the frame and tells it beside.
        for _, _, auxiliary in ancillary:
            status, *_, tag, ethertype = struct.unpack("=IIIHHHH", auxiliary)
            if status & TP_STATUS_VLAN_VALID:
                data = data[:12] + struct.pack(">HH", ethertype, tag) + data[12:]
        if data[:18] == frame[:18]:
            assert reference.check(frame, data) is reference.Fate.REWRITTEN
            yield int.from_bytes(data[udp : udp + 2], "big")


# Bug: the receiver does not look at checksums, and the test above proves nothing.
def test_the_receiver_does_add_up(cable: Cable) -> None:
    cable.offload(checksums=False)
    before = cable.csum_errors()
    udp = struct.pack(">4H", SOURCE, PORT, 8 + 4, 1) + b"oops"
    with group(cable, ADDRESSES["ipv4"]), cable.network.at_client():
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
            raw.sendto(udp, (ADDRESSES["ipv4"], 0))
        deadline = time.monotonic() + PATIENCE
        while cable.csum_errors() == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# Bug: no checksum becomes a wrong one. Seen by a packet socket, after the program.
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_no_checksum_stays_none(cable: Cable, tmp_path: Path, mode: str) -> None:
    cable.offload(checksums=False)
    address = ADDRESSES["ipv4"]
    with ExitStack() as stack:
        stack.enter_context(spreading(cable, tmp_path, "--mode", mode))
        with cable.network.at_server():
            kind = (socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            tap = stack.enter_context(socket.socket(*kind))
        tap.bind(("cable", 0x0800))
        tap.setblocking(False)
        sockets = stack.enter_context(group(cable, address))
        client = stack.enter_context(sender(cable, address, no_check=True))
        received = exchange(sockets, client, wanted=1_000)
        seen = [struct.unpack(">4H", packet[20:28]) for packet, _ in drain(tap)]
    assert len(received.ports) > 900
    datagrams = [udp for udp in seen if udp[1] == PORT]
    assert len(datagrams) > 100
    assert {checksum for _, _, _, checksum in datagrams} == {0}
    assert {source for source, _, _, _ in datagrams} <= received.ports


@contextmanager
def next_hop(cable: Cable) -> Iterator[tuple[Cable, str]]:
    """A receiver behind the server, and its address: the way there wants whole checksums."""
    cable.offload(checksums=True)
    router, host = cable.server, "198.18.2.1"
    with namespace() as receiver:
        far = ("name", "next", "netns", str(receiver.pid))
        router.run("ip", "link", "add", "name", "next", "type", "veth", "peer", *far)
        try:
            for end, address in ((router, "198.18.2.2/24"), (receiver, f"{host}/24")):
                end.run("ip", "address", "add", address, "dev", "next")
                end.run("ip", "link", "set", "next", "up")
                end.run("ethtool", "-K", "next", "tx", "off", "rx", "off")
            router.write("/proc/sys/net/ipv4/ip_forward", "1")
            cable.client.run("ip", "route", "replace", "198.18.2.0/24", "via", "198.18.0.1")
            receiver.run("ip", "route", "replace", "198.18.0.0/24", "via", "198.18.2.2")
            yield Cable(receiver, cable.client), host
        finally:
            router.run("ip", "link", "delete", "next")


# Bug: a checksum that is not complete yet is updated as if it were; who completes it (here a
# router's next device that wants whole ones) then counts the ports twice, and the receiver
# drops every datagram.
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_a_checksum_that_is_completed_later_is_right(
    cable: Cable, tmp_path: Path, mode: str
) -> None:
    with (
        next_hop(cable) as (there, host),
        spreading(cable, tmp_path, "--mode", mode),
        group(there, host) as sockets,
        sender(cable, host, source="198.18.0.2") as client,
    ):
        received = exchange(sockets, client)
        assert all(abs(share - 25) < 2 for share in received.shares), received.shares
        assert there.csum_errors() == 0


# Bug: trains of datagrams in one sk_buff (UDP_SEGMENT), which generic XDP sees as one, come out
# with wrong lengths or checksums: at the socket, or where they are cut up behind the next hop.
@pytest.mark.parametrize("mode", ["native", "generic"])
@pytest.mark.parametrize("hops", [0, 1])
def test_trains_of_datagrams(cable: Cable, tmp_path: Path, hops: int, mode: str) -> None:
    with ExitStack() as stack:
        there, host = stack.enter_context(next_hop(cable))
        if not hops:
            there, host = cable, ADDRESSES["ipv4"]
        before = there.csum_errors()
        stack.enter_context(spreading(cable, tmp_path, "--mode", mode))
        sockets = stack.enter_context(group(there, host))
        client = stack.enter_context(sender(cable, host, source="198.18.0.2"))
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(payload(0, SEGMENT)))
        arrived: set[int] = set()
        ports: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        for first in itertools.count(0, TRAIN):
            assert time.monotonic() < deadline, len(arrived)
            train = range(first, first + TRAIN)
            client.send(b"".join(payload(number, SEGMENT) for number in train))
            for data, source in itertools.chain.from_iterable(map(drain, sockets)):
                assert data == payload(int(data[:8], 16), SEGMENT)
                arrived.add(int(data[:8], 16))
                ports.add(source)
            if len(arrived) > 4_000:
                break
        assert len(ports) > 300
        assert there.csum_errors() == before


# Bugs: frames of several buffers keep the program out of the driver, and the user is told
# nothing; one of them is taken for a cut one.
@pytest.mark.parametrize("checksums", [True, False])
def test_jumbo_frames_in_native_mode(cable: Cable, tmp_path: Path, checksums: bool) -> None:  # noqa: FBT001
    cable.offload(checksums=checksums)
    address, before = ADDRESSES["ipv4"], cable.csum_errors()
    for end in (cable.client, cable.server):
        end.run("ip", "link", "set", "cable", "mtu", "9000")
    try:
        with (
            spreading(cable, tmp_path, "--mode", "native") as process,
            group(cable, address) as sockets,
            sender(cable, address) as client,
        ):
            received = exchange(sockets, client, size=8_000, wanted=2_000)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE)
    finally:
        for end in (cable.client, cable.server):
            end.run("ip", "link", "set", "cable", "mtu", "1500")
    assert "native XDP; native: " in said
    assert len(received.ports) > 1_900
    # 2000 datagrams, standard deviation 1 point: six of them.
    assert all(abs(share - 25) < 6 for share in received.shares), received.shares
    assert cable.csum_errors() == before


# Bugs: counters that do not add up, or count somebody else's packets as rewritten; Ctrl-C ends
# without the summary, or leaves the program; JSON and text tell different stories.
@pytest.mark.parametrize("format_", ["text", "json"])
def test_what_it_says(cable: Cable, tmp_path: Path, format_: str) -> None:
    cable.offload(checksums=False)
    address = ADDRESSES["ipv4"]
    options = ("--format", format_, "--interval", 0.2, "--port", 4001)
    with (
        spreading(cable, tmp_path, *options) as process,
        group(cable, address) as sockets,
        sender(cable, address) as client,
    ):
        assert cable.xdp()["prog"]["name"] == "locality_spread"
        exchange(sockets, client, wanted=1_000)
        with cable.network.at_client(), socket.socket(type=socket.SOCK_DGRAM) as other:
            for _ in range(23):
                other.sendto(b"to another port", (address, 4002))
        for one in sockets:
            list(drain(one))
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert cable.xdp() == {}
    assert "UDP to port 4000, 4001 on cable" in said
    assert "native XDP" in said
    assert "warning: the receiver no longer sees the true source port" in said
    if format_ == "json":
        intervals = [json.loads(line) for line in out.splitlines()]
        assert {(one["dev"], one["mode"]) for one in intervals} == {("cable", "native")}
        names = ("seen", "rewritten", "passed", "malformed")
        total = {name: sum(one[name] for one in intervals) for name in names}
        by_cpu = {
            name: sum(cpu[name] for one in intervals for cpu in one["cpus"]) for name in names
        }
        assert by_cpu == total
        summary = said
    else:
        rows = [line.split() for line in out.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
        sums = [sum(int(row[column]) for row in rows) for column in range(1, 5)]
        total = dict(zip(("seen", "rewritten", "passed", "malformed"), sums, strict=True))
        summary = out
        assert max(map(len, out.splitlines())) <= 80
    assert total["seen"] == total["rewritten"] + total["passed"] + total["malformed"]
    assert total["rewritten"] % BURST == 0
    assert total["rewritten"] >= 1_000
    assert total["passed"] >= 23
    assert total["malformed"] == 0
    assert f"{total['rewritten']} rewritten" in summary


# Bug: a crash leaves the program on the interface, and nobody who knows of it.
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_a_killed_tool_leaves_nothing(cable: Cable, tmp_path: Path, mode: str) -> None:
    with spreading(cable, tmp_path, "--mode", mode) as process:
        assert cable.xdp()["prog"]["name"] == "locality_spread"
        process.kill()
        process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while cable.xdp():
            assert time.monotonic() < deadline, cable.xdp()
            time.sleep(0.01)


# Bugs: somebody else's program is replaced; one of the other mode is not noticed; the message
# does not say whose it is.
@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
@pytest.mark.parametrize("there", ["native", "generic"])
def test_a_program_that_is_there_stays(cable: Cable, tmp_path: Path, there: str, mode: str) -> None:
    with spreading(cable, tmp_path, "--mode", there):
        before = cable.xdp()
        refused = run_there(cable, "--dev", "cable", "--port", PORT, "--mode", mode)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        number = before["prog"]["id"]
        assert f"{there} program {number} (locality_spread)" in line
        assert cable.xdp() == before


# Bugs: a traceback; native mode that silently becomes generic where only native was asked for.
def test_what_cannot_be_is_said(cable: Cable) -> None:
    unknown = run_there(cable, "--dev", "nosuch", "--port", PORT)
    assert unknown.returncode == 1
    assert unknown.stderr == (
        "locality: there is no interface 'nosuch' in this network namespace: "
        "ip link shows which are\n"
    )
    loopback = ("--dev", "lo", "--port", PORT, "--duration", 0.1)
    native = run_there(cable, *loopback, "--mode", "native")
    assert native.returncode == 1
    assert "native: the interface takes no native XDP program: Operation not supp" in native.stderr
    assert len(native.stderr.splitlines()) == 1
    automatic = run_there(cable, *loopback)
    assert automatic.returncode == 0
    assert "generic XDP; native: Operation not supported" in automatic.stderr


# Bug: it goes on counting nothing when the interface has gone.
def test_an_interface_that_goes(tmp_path: Path) -> None:
    with namespace() as server, namespace() as client:
        far = ("name", "cable", "netns", str(client.pid))
        server.run("ip", "link", "add", "name", "cable", "type", "veth", "peer", *far)
        server.run("ip", "link", "set", "cable", "up")
        cable = Cable(server, client)
        with spreading(cable, tmp_path, "--interval", 0.1) as process:
            server.run("ip", "link", "delete", "cable")
            out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "packets seen:" in out
    assert said.splitlines()[-1].startswith("locality: cable spreads no longer")
