"""`locality top` beside servers that count themselves: which is the least local?"""

from __future__ import annotations

import json
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locality.errors import LocalityError
from locality.lab.experiment import open_lab
from locality.lab.load import CONNECTIONS
from locality.lab.nginx import PORT
from locality.lab.programs import require
from locality.lab.wires import best_wire
from locality.top.source import TopSource
from tests.live.helpers.commands import tracing
from tests.live.helpers.reads import READS, connected, datagrams, read_from
from tests.live.helpers.rungs import ASKED, skip_without_atomics
from tests.live.helpers.traffic import HERE, PATIENCE, THERE

if TYPE_CHECKING:
    from locality.lab.experiment import Lab

pytestmark = [
    pytest.mark.live,
    pytest.mark.chosen,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]


@pytest.fixture(scope="module", autouse=True)
def reads_are_seen() -> None:
    """Skip where the kernel cannot count them."""
    skip_without_atomics(TopSource)


KEPT_ALIVE = 2
REQUESTS = 8 * KEPT_ALIVE * READS
TOP = ("top", "--by", "port", "--json", "--interval", 1000)


def segments_received(lab: Lab) -> int:
    """How many segments of TCP the server's network namespace has received."""
    lines = Path(f"/proc/{lab.server.pid}/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["InSegs"])


def answered(lab: Lab) -> int:
    """Requests that nginx has answered: some more than half of REQUESTS."""
    deadline = time.monotonic() + PATIENCE
    with lab.load() as load:
        before = segments_received(lab)
        while segments_received(lab) < before + REQUESTS:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return load.stop().requests


# Bugs: what was connected before is not seen; a service is sorted by its reads, or by its share,
# and not by what is lost; reads are counted for the client, too, or not exactly; datagrams are
# missing.
def test_the_service_that_loses_most_comes_first(tmp_path: Path) -> None:
    try:
        require()
    except LocalityError as missing:
        pytest.skip(f"limitation: {missing}")
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(2, best_wire()))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        kept = [stack.enter_context(connected(listener)) for _ in range(KEPT_ALIVE)]
        sender, receiver = stack.enter_context(datagrams())
        ports = [PORT, listener.getsockname()[1], receiver.getsockname()[1]]
        top = stack.enter_context(tracing(tmp_path, *TOP))
        requests = answered(lab)
        # nginx reads half of the requests far away: more than these.
        reads = min(READS, requests // (8 * KEPT_ALIVE))
        for pair in kept:
            read_from(*pair, sender=HERE, reader=THERE, reads=reads)
        for _ in range(3 * KEPT_ALIVE):
            read_from(sender, receiver, sender=HERE, reader=HERE, reads=reads)
        top.send_signal(signal.SIGINT)
        out, said = top.communicate(timeout=PATIENCE)
    (line,) = out.splitlines()
    interval = json.loads(line)
    rows = [row for row in interval["rows"] if row["port"] in ports and not row["outgoing"]]
    if "reads of datagrams are not seen" in said:
        ports.pop()
    assert [row["port"] for row in rows] == ports, rows
    nginx, kept_alive, *of_datagrams = rows
    assert requests <= nginx["reads"] <= requests + CONNECTIONS
    assert 0.2 * nginx["reads"] <= nginx["reads_cpu"] <= 0.8 * nginx["reads"]
    check(kept_alive, KEPT_ALIVE * reads, 0)
    for row in of_datagrams:
        check(row, 3 * KEPT_ALIVE * reads, 3 * KEPT_ALIVE * reads)
    assert interval["lost"] == 0


def check(row: dict[str, Any], reads: int, local: int) -> None:
    """These reads, of which so many are local."""
    assert row["reads"] == reads
    # An ACK of what was read now and then arrives last, where it was read.
    assert row["reads_cpu"] == pytest.approx(local, abs=reads // 20)
