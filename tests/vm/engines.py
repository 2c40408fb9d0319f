"""Engine bcc beside engine core, over the same known-answer workloads.

Runs in the guests of `tests/vm/test_engines.py`, where BCC_KERNEL_SOURCE names the headers. An
emulated CPU takes a minute and more to compile a probe, so each is compiled once.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from io import StringIO
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.accept.records import JsonAccept
from locality.accept.source import AcceptSource, Filter
from locality.machine import topology
from locality.skb.source import SkbSource
from tests.live.helpers.agreement import (
    ATTEMPTS,
    PACKETS_MAY_DIFFER,
    View,
    compare,
    expected,
    networks,
)
from tests.live.helpers.traffic import HERE, THERE, connect_and_accept, from_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.live.helpers.agreement import Seen
    from tests.live.helpers.traffic import Network

pytestmark = pytest.mark.live

CASES = list(
    product(("loopback", "veth"), ("TCP ping-pong", "UDP ping-pong"), ("same CPU", "cross CPU"))
)
POINTS_MAY_DIFFER = 0.1

#: In a namespace of its own that has no BTF: whoever asks for it finds an empty directory.
WITHOUT_BTF = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"')


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, SkbSource]]:
    with SkbSource(engine="core") as core, SkbSource(engine="bcc") as bcc:
        yield {"core": core, "bcc": bcc}


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Network]]:
    with networks() as found:
        yield found


@contextmanager
def without_btf(*arguments: object, ready: Path) -> Iterator[subprocess.Popen[str]]:
    """A tracing command that has attached its probes and finds no BTF."""
    command = (sys.executable, "-m", "locality", *map(str, arguments), "--ready-file", str(ready))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*WITHOUT_BTF, "sh", *command], stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            while not ready.exists():
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


def rows_of(lines: str) -> list[dict[str, object]]:
    """Connections as JSON, without what each engine's probe reads from the clock itself."""
    rows = [json.loads(line) for line in lines.splitlines()]
    return [{name: row[name] for name in row if name not in {"time", "wait_ns"}} for row in rows]


# A field that the headers put elsewhere than the kernel has it, a filter that is compiled to
# something else, a call that one of them does not see: every record is the same, and is true.
# And anything that still asks BTF: the ladder, libbpf, the check of the record's layout.
def test_the_same_connections(tmp_path: Path) -> None:
    connections = 1_009
    mine = Filter(comm=Path("/proc/self/comm").read_text().strip(), pids=(os.getpid(),))
    options = ("--comm", mine.comm, "--pid", mine.pids[0], "--count", connections, "--json")
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        without_btf("accept", *options, ready=tmp_path / "ready") as bcc,
        AcceptSource(mine, engine="core") as core,
    ):
        known = connect_and_accept(listener, connections, client_cpus=(HERE, THERE))
        batch = core.read()
        rows, said = bcc.communicate()
    assert "by engine bcc (this kernel has no BTF)" in said
    assert f"{connections} accepted" in said
    assert " 0 lost" in said
    assert [from_record(record) for record in batch.records] == known
    expected = StringIO()
    JsonAccept(expected, topology.read()).write(batch)
    assert rows_of(rows) == rows_of(expected.getvalue())


def agree(one: Seen, other: Seen) -> bool:
    """Within 0.1 % of the packets, and 0.1 points of their locality."""
    near = abs(one.packets - other.packets) <= PACKETS_MAY_DIFFER * one.packets
    return near and abs((one.local or 0) - (other.local or 0)) <= POINTS_MAY_DIFFER


def views_agree(views: Mapping[str, View]) -> bool:
    core, bcc = views["core"], views["bcc"]
    return agree(core.rx, bcc.rx) and agree(core.tx, bcc.tx)


# Compare packets, too. These kernels do not report missed kprobe hits, so a case
# may be measured again; a field that is wrong stays wrong.
@pytest.mark.parametrize(
    ("network", "workload", "place"), CASES, ids=[" ".join(case) for case in CASES]
)
def test_the_same_packets(
    engines: Mapping[str, SkbSource],
    places: Mapping[str, Network],
    network: str,
    workload: str,
    place: str,
) -> None:
    for _ in range(ATTEMPTS):
        views = compare(engines, places[network], workload, place)
        if views_agree(views):
            break
    assert views_agree(views), views
    (least, most), _sent = expected(network, workload)
    assert least <= views["bcc"].rx.packets <= most, views
