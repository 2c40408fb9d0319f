"""Accepted connections that the kernel counts, against the records of the same connections."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import numpy as np
import pytest

from locality.accept.batch import WAIT_KNOWN
from locality.accept.counts import MAX_ROWS, WAIT_ENDS, AcceptCounts
from locality.accept.source import RUNGS, AcceptSource, Filter
from locality.machine import topology
from locality.machine.topology import Distance
from tests.live.helpers.rungs import parametrize, skip_without_atomics
from tests.live.helpers.traffic import HERE, THERE, connect_and_accept

pytestmark = [pytest.mark.live, pytest.mark.accept]

ME = Filter(pids=(os.getpid(),))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, AcceptSource, RUNGS)


# Bugs: a connection is counted twice, not at all, or for another port, distance or RX CPU; a time
# falls into another bucket than its record says.
@pytest.mark.core
def test_the_counts_are_those_of_the_records(rung: str) -> None:
    machine = topology.read()
    skip_without_atomics(lambda: AcceptCounts(machine, ME, rung))
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as one,
        socket.create_server(("127.0.0.1", 0), backlog=128) as other,
        AcceptCounts(machine, ME, rung) as counts,
        AcceptSource(ME, rung) as source,
    ):
        connect_and_accept(one, 30, client_cpus=(HERE, THERE, THERE))
        connect_and_accept(other, 12, accept_cpu=HERE)
        counted, records = counts.read(), source.read().records
        names = [listener.getsockname()[1] for listener in (one, other)]
    assert counted.lost == 0
    assert sorted(counted.ports.tolist()) == sorted(names)
    for port, distances, received in zip(
        counted.ports, counted.distances, counted.received, strict=True
    ):
        mine = records[records["lport"] == port]
        apart = machine.distance(mine["cpu"], mine["rxcpu"])
        assert distances.tolist() == np.bincount(apart, minlength=len(Distance)).tolist()
        assert received.tolist() == np.bincount(mine["rxcpu"], minlength=len(received)).tolist()
    known = (records["flags"] & WAIT_KNOWN) > 0
    assert counted.waits.sum() == known.sum()
    # Both probes see the same connection some microseconds apart.
    waits = records["wait"][known] / 1e9
    assert counted.wait_seconds == pytest.approx(waits.sum(), rel=0.2, abs=0.05)
    longest = int(np.flatnonzero(counted.waits)[-1])
    assert WAIT_ENDS[longest - 2] < waits.max() * 1.2 + 0.01


# Bugs: a port that finds the table full is lost, or is counted for another port.
@pytest.mark.chosen
def test_more_ports_than_rows() -> None:
    ports = MAX_ROWS + 3
    with AcceptCounts(topology.read(), ME) as counts, ExitStack() as stack:
        for _ in range(ports):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
                # No port twice: it is kept by a socket that does not listen.
                with socket.create_connection(("127.0.0.1", port)), listener.accept()[0]:
                    pass
            kept = stack.enter_context(socket.socket())
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.bind(("127.0.0.1", port))
        counted = counts.read()
    assert len(counted.ports) == MAX_ROWS - 1
    assert counted.distances.sum(axis=1).tolist() == [1] * (MAX_ROWS - 1)
    assert counted.others.sum() == ports - (MAX_ROWS - 1)
