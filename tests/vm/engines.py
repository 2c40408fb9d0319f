"""Engine bcc beside engine core, over the same known-answer workloads.

Runs in the guests of `tests/vm/test_engines.py`, where BCC_KERNEL_SOURCE names the headers. An
emulated CPU takes a minute and more to compile a probe, so each is compiled once.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.accept import ACCEPT, AcceptSource, Filter
from locality.skb import SkbSource
from tests.live.agreement import (
    ATTEMPTS,
    PACKETS_MAY_DIFFER,
    View,
    compare,
    expected,
    networks,
)
from tests.live.traffic import HERE, THERE, connect_and_accept, from_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.live.agreement import Seen
    from tests.live.traffic import Network

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


# A field that the headers put elsewhere than the kernel has it, a filter that is compiled to
# something else, a call that one of them does not see: every record is the same, and is true.
def test_the_same_connections() -> None:
    mine = Filter(comm=Path("/proc/self/comm").read_text().strip(), pids=(os.getpid(),))
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        AcceptSource(mine, engine="core") as core,
        AcceptSource(mine, engine="bcc") as bcc,
    ):
        known = connect_and_accept(listener, 1_009, client_cpus=(HERE, THERE))
        batches = core.read(), bcc.read()
    assert [batch.lost for batch in batches] == [0, 0]
    one, other = (batch.records for batch in batches)
    assert [from_record(record) for record in other] == known
    # Each engine's probe reads the clock itself.
    for name in set(ACCEPT.names or ()) - {"time", "wait"}:
        assert (one[name] == other[name]).all(), name
    assert bcc.footing.name.endswith(" (bcc)")


def agree(one: Seen, other: Seen) -> bool:
    """Within 0.1 % of the packets, and 0.1 points of their locality."""
    near = abs(one.packets - other.packets) <= PACKETS_MAY_DIFFER * one.packets
    return near and abs((one.local or 0) - (other.local or 0)) <= POINTS_MAY_DIFFER


def views_agree(views: Mapping[str, View]) -> bool:
    core, bcc = views["core"], views["bcc"]
    return agree(core.rx, bcc.rx) and agree(core.tx, bcc.tx)


# The same for packets. A kprobe that is hit in vain is not counted by these kernels, so a case
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


# Anything that still asks BTF: in the ladder, in libbpf, for the record's layout.
def test_a_kernel_without_btf() -> None:
    command = (sys.executable, "-m", "locality", "accept", "--duration", "1", "--json")
    done = subprocess.run(
        [*WITHOUT_BTF, "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "by engine bcc (this kernel has no BTF)" in done.stderr
