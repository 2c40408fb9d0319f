"""All rungs at once, over the same packets: they agree, and the packets are those that were sent.

In a guest only: what else a machine sends would be counted too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live.helpers.agreement import (
    CASES,
    PACKETS_MAY_DIFFER,
    View,
    all_rungs,
    compare,
    differences,
    expected,
    networks,
)
from tests.live.helpers.traffic import EMULATED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from locality.skb.source import SkbSource
    from tests.live.helpers.traffic import Network

pytestmark = [
    pytest.mark.live,
    pytest.mark.agree,
    pytest.mark.skipif(not EMULATED, reason="limitation: others' packets, except in a guest"),
]

#: Each network, each kind of workload.
CORE = {
    ("loopback", "TCP ping-pong", "cross CPU"),
    ("veth", "UDP ping-pong", "cross CPU"),
    ("virtio", "TCP stream", "cross CPU"),
    ("virtio", "UDP one-way", "same CPU"),
}

Views = dict[tuple[str, str, str], dict[str, View]]


@pytest.fixture(scope="module")
def sources() -> Iterator[dict[str, SkbSource]]:
    with all_rungs() as attached:
        yield attached


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, Network]]:
    with networks() as found:
        yield found


@pytest.fixture(scope="module")
def seen() -> Views:
    """What was measured already: each case once, for all tests."""
    return {}


@pytest.fixture(
    params=[
        pytest.param(case, marks=pytest.mark.core if case in CORE else (), id=" ".join(case))
        for case in CASES
    ]
)
def case(
    request: pytest.FixtureRequest,
    sources: Mapping[str, SkbSource],
    places: Mapping[str, Network],
    seen: Views,
) -> tuple[str, str, dict[str, View]]:
    """Network, workload, and what each rung saw of it."""
    network, workload, place = request.param
    if network not in places:
        # No limitation: without them the driver's completions would go untested.
        pytest.skip("this guest has no two NICs on one cable: tests.vm.guest.JOINED")
    if request.param not in seen:
        seen[request.param] = compare(sources, places[network], workload, place)
    return network, workload, seen[request.param]


# Two rungs that count by different code, on different hooks: what one of them misses, counts
# twice or puts on another CPU differs from the rest. What it cannot see has to be known.
def test_rungs_agree(case: tuple[str, str, dict[str, View]]) -> None:
    _network, workload, views = case
    if len(views) == 1:
        pytest.skip("limitation: one rung")
    unexplained = [one for one in differences(workload, views) if not one.why]
    assert not unexplained, views


# A hook that all rungs share may miss a way that packets go (a function that this kernel's
# compiler inlined, a driver's completion): then all agree, on too few.
def test_packets_are_those_sent(case: tuple[str, str, dict[str, View]]) -> None:
    network, workload, views = case
    best = next(iter(views.values()))
    for direction, (least, most) in zip(
        (best.rx, best.tx), expected(network, workload), strict=True
    ):
        assert (1 - PACKETS_MAY_DIFFER) * least <= direction.packets + best.lost, views
        assert direction.packets <= (1 + PACKETS_MAY_DIFFER) * most, views
        assert direction.unknown <= PACKETS_MAY_DIFFER * direction.packets, views
