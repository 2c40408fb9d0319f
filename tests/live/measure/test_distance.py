"""Shares by distance on the running kernel: one workload for each distance that this machine has.

The CPUs of a workload are chosen by what `topology.read` says of them, so this shows that what
is counted between two CPUs ends up at their distance; that the distances themselves are right,
`tests/vm/test_topology.py` shows on a machine that it puts together.
"""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING

import pytest

from locality.accept import source as accept
from locality.accept.source import AcceptSource, Filter
from locality.accept.summary import AcceptSummary
from locality.machine import topology
from locality.machine.distance import by_distance
from locality.machine.topology import Distance
from locality.skb import source as skb
from locality.skb.interval import RX, packets_by_distance
from locality.skb.source import SkbSource
from tests.live.helpers.commands import tracing
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import CPUS, HERE, PATIENCE, connect_and_accept, tcp_ping_pong

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.live

MACHINE = topology.read()
#: Two CPUs for each distance there is between those that we may use.
PAIRS = {
    Distance(int(MACHINE.distances[one, other])): (one, other)
    for one in reversed(CPUS)
    for other in reversed(CPUS)
}

CONNECTIONS = 23
ROUND_TRIPS = 500


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    source, ladder = (
        (AcceptSource, accept) if "accepts" in metafunc.function.__name__ else (SkbSource, skb)
    )
    parametrize(metafunc, source, ladder.RUNGS)
    if "distance" in metafunc.fixturenames:
        metafunc.parametrize("distance", sorted(PAIRS), ids=lambda distance: distance.word)


# A CPU that is in use is at a known distance from each other, and from no other at none.
def test_distances_of_this_machine() -> None:
    assert Distance.UNKNOWN not in PAIRS
    assert all((MACHINE.distances[cpu, cpu] == Distance.CPU) for cpu in CPUS)
    assert set(MACHINE.online) >= set(CPUS)


# Bugs: the CPU of accept() compared with another one than the RX CPU; a connection counted at two
# distances, or one too near or too far.
@pytest.mark.accept
def test_accepts(rung: str, distance: Distance) -> None:
    received, accepted = PAIRS[distance]
    summary = AcceptSummary(MACHINE)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        AcceptSource(Filter(pids=(os.getpid(),)), rung) as source,
    ):
        connect_and_accept(listener, CONNECTIONS, client_cpus=(received,), accept_cpu=accepted)
        summary.write(source.read())
    counts = by_distance(summary.matrix, MACHINE.distances)
    assert counts == dict.fromkeys(Distance, 0) | {distance: CONNECTIONS}


# Bugs: packets at another distance than their two CPUs, counted twice or lost on the way from the
# counters to the shares. The machine may have other packets, but not that many.
@pytest.mark.skb_rx
def test_packets(rung: str, distance: Distance) -> None:
    here, there = PAIRS[distance]
    expected = 0.95 * 2 * ROUND_TRIPS
    with SkbSource(rung=rung) as source:
        source.read()
        tcp_ping_pong(here, there, ROUND_TRIPS)
        deadline = time.monotonic() + PATIENCE / 10
        seen = source.read()
        while True:
            counts = packets_by_distance(seen, RX, MACHINE)
            assert counts is not None
            if counts[distance] >= expected or time.monotonic() > deadline:
                break
            time.sleep(0.02)
            seen += source.read()
    assert counts[distance] >= expected
    assert sum(counts.values()) == seen.rx.known


# Bugs: a command that needs a second CPU, or all that are possible; a summary without shares.
def test_the_commands(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        arguments = ("accept", "--port", port, "--count", CONNECTIONS)
        with tracing(tmp_path, *arguments) as process:
            connect_and_accept(listener, CONNECTIONS, accept_cpu=HERE)
            said, _ = process.communicate(timeout=PATIENCE)
    assert f"\n{CONNECTIONS} accepted, 100.00% accept-local, 0 lost\nsame CPU 100.0%" in said
    half_seconds = ("--interval", 0.5, "--count", 2)
    with tracing(tmp_path, "skb", *half_seconds, "--format", "json") as process:
        tcp_ping_pong(HERE, HERE, ROUND_TRIPS)
        said, summary = process.communicate(timeout=PATIENCE)
    received = 0
    for line in said.splitlines():
        interval = json.loads(line)
        counts = interval["rx_by_distance"]
        assert counts["cpu"] == interval["rx_local"]
        assert sum(counts.values()) == interval["rx_packets"] - interval["rx_unknown"]
        received += interval["rx_packets"]
    assert received > 0
    assert "\n  same CPU " in summary
