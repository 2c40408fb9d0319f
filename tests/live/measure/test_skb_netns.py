"""Packets of one network namespace, against workloads whose sides are known."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError, Unsupported
from locality.skb.source import SkbSource
from tests.live.helpers.networks import veth
from tests.live.helpers.traffic import (
    HERE,
    ROUND_TRIPS,
    THERE,
    Network,
    tcp_ping_pong,
    udp_ping_pong,
)

if TYPE_CHECKING:
    from locality.skb.interval import Interval

pytestmark = [
    pytest.mark.live,
    pytest.mark.chosen,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
]


@pytest.fixture(autouse=True)
def _needs_a_rung() -> None:
    try:
        SkbSource(netns=inode("self")).close()
    except Unsupported as refusal:
        pytest.skip(f"limitation: {refusal}")


def inode(pid: int | str) -> int:
    """The network namespace of a process."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def measured(network: Network) -> dict[str, Interval]:
    """What `tcp_ping_pong` shows of the server, the client, and the whole machine.

    Made again, three times at most, while others on this machine send, too.
    """
    assert network.server is not None
    assert network.client is not None
    sides = {"server": inode(network.server), "client": inode(network.client), "all": None}
    with ExitStack() as stack:
        sources = {
            name: stack.enter_context(SkbSource(netns=netns)) for name, netns in sides.items()
        }
        for _ in range(4):
            for source in sources.values():
                source.read()
            tcp_ping_pong(HERE, THERE, ROUND_TRIPS, network=network)
            seen = {name: source.read() for name, source in sources.items()}
            if is_quiet(seen["all"]):
                break
    return seen


def is_quiet(interval: Interval) -> bool:
    """Whether nobody else sent much: a round trip is two packets, and perhaps an ACK."""
    return interval.rx.packets < 2.2 * ROUND_TRIPS


# Bugs: packets of the other side, or of another namespace, are counted; packets of this side are
# not; what is not told apart is put on a side, or forgotten.
def test_each_side_has_its_own_packets() -> None:
    with veth() as network:
        seen = measured(network)
    for side in ("server", "client"):
        interval = seen[side]
        # Each side reads one message a round trip, and sends one.
        if interval.delivered is not None:
            assert interval.delivered == ROUND_TRIPS
        assert interval.rx.packets >= ROUND_TRIPS
        assert interval.tx.packets >= ROUND_TRIPS
    for direction, name in enumerate(("rx", "tx")):
        parts = sum(getattr(seen[side], name).packets for side in ("server", "client"))
        whole = getattr(seen["all"], name).packets
        # The sources are read one after the other: what falls between them is in one of them.
        told = parts + seen["server"].not_told[direction]
        assert told <= whole * 1.01
        assert told >= whole * 0.99 or not is_quiet(seen["all"])
        assert seen["all"].not_told[direction] == 0


# Bug: packets of another namespace count as this one's where no socket is left to tell.
def test_the_packets_of_others_are_not_counted() -> None:
    with veth() as network, SkbSource(netns=inode(network.server or 0)) as source:
        source.read()
        tcp_ping_pong(HERE, THERE, ROUND_TRIPS)
        udp_ping_pong(HERE, THERE, ROUND_TRIPS)
        interval = source.read()
    assert interval.rx.packets == 0
    assert interval.tx.packets == 0
    assert not interval.delivered


# Bug: a rung that cannot tell namespaces apart counts all packets, and says nothing.
def test_other_rungs_refuse() -> None:
    with pytest.raises(LocalityError, match="no rung 'fentry' here: use one of raw-tracepoint"):
        SkbSource(rung="fentry", netns=inode("self"))
