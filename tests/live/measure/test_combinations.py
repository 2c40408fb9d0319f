"""Does the kernel take the probes with each filter, and with each left out?

A filter is a constant of the probe, so each combination is another program: the branches that are
not needed are dead, and the verifier sees other paths. Not each pair: a guest loads two a second.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locality.accept.source import RUNGS as ACCEPT_RUNGS
from locality.accept.source import AcceptSource, Filter
from locality.connections.source import ConnectionSource
from locality.cost.source import CostSource
from locality.errors import Unsupported
from locality.filter import Wanted
from locality.machine.cgroups import Cgroup
from locality.skb.source import RUNGS as SKB_RUNGS
from locality.skb.source import SkbSource
from locality.skb.wanted import SkbFilter, device
from locality.top.source import TopSource
from locality.udp.source import RUNGS as UDP_RUNGS
from locality.udp.source import UdpFilter, UdpSource
from tests.live.helpers.rungs import ASKED, open_skb, parametrize

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live

#: What every measurement can choose by. Nothing of it needs to be there.
CHOICES: dict[str, Any] = {
    "comm": "x",
    "pids": (1,),
    "ports": (1,),
    "netns": 1,
    "cgroup": Cgroup("/", 1, Path("/nowhere")),
}
BY_ADDRESS = {"cpu": 1, "family": 6}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for marker, source, rungs in (
        ("accept", AcceptSource, ACCEPT_RUNGS),
        ("skb_rx", SkbSource, SKB_RUNGS),
        ("udp", UdpSource, UDP_RUNGS),
    ):
        if metafunc.definition.get_closest_marker(marker):
            parametrize(metafunc, source, rungs)


def chosen(**more: object) -> Iterator[dict[str, Any]]:
    """Each choice alone, and all but one; all at once is tested elsewhere."""
    choices = CHOICES | more
    for size in (1, len(choices) - 1):
        for names in combinations(choices, size):
            yield {name: choices[name] for name in names}


# Bug, here and below: a kernel refuses a probe with some filter, or without one.
@pytest.mark.accept
def test_accepts(rung: str) -> None:
    for choice in chosen(**BY_ADDRESS):
        AcceptSource(Filter(**choice), rung).close()


@pytest.mark.accept
def test_connections(rung: str) -> None:
    for choice in chosen(**BY_ADDRESS):
        ConnectionSource(Filter(**choice), rung).close()


@pytest.mark.skb_rx
def test_packets(rung: str) -> None:
    for choice in chosen(device=device("lo"), family=6):
        open_skb(rung, SkbFilter(**choice)).close()


@pytest.mark.udp
def test_datagrams(rung: str) -> None:
    for choice in chosen():
        UdpSource(UdpFilter(**choice), rung=rung).close()


@pytest.mark.chosen
@pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own")
def test_reads() -> None:
    for choice in chosen():
        TopSource(Wanted(**choice)).close()


@pytest.mark.chosen
@pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own")
def test_times_of_reads() -> None:
    try:
        CostSource().close()
    except Unsupported as refusal:
        pytest.skip(f"limitation: {refusal}")
    for name, choice in CHOICES.items():
        CostSource(Wanted(**{name: choice})).close()
