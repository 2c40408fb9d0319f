"""Distances on the layouts of real machines.

Each is a rule for what a captured /sys holds: the lists of possible and online CPUs, and of
those that share a node, a core, a cache. The captures are those on which the tests of hwloc
(tests/hwloc/linux) and of util-linux (tests/ts/lscpu/dumps) run, under the names given.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from locality.machine.topology import Distance
from tests.unit.sysfs import machine

if TYPE_CHECKING:
    from pathlib import Path

CPU, CORE, LLC, NODE, REMOTE, UNKNOWN = Distance


@dataclass(frozen=True)
class Layout:
    """A machine, and what is known of some of its CPUs.

    Attributes:
        caches: By level, the CPUs that share one.
        around: How many CPUs there are at each distance from the first one online.
        pairs: Distances that a mistake would change.
    """

    possible: str
    online: str
    nodes: list[list[int]]
    cores: list[list[int]]
    caches: dict[int, list[list[int]]]
    around: dict[Distance, int]
    pairs: dict[tuple[int, int], Distance] = field(default_factory=dict)


def runs(length: int, count: int) -> list[list[int]]:
    """Groups of neighbours: 0 to length - 1, and so on."""
    return [list(range(start, start + length)) for start in range(0, length * count, length)]


def with_siblings(groups: list[list[int]], offset: int) -> list[list[int]]:
    """Each group with the second threads of its cores, which are numbered after all first ones."""
    return [group + [cpu + offset for cpu in group] for group in groups]


LAYOUTS = {
    # 32intel64-2p8co2t+8ve: two sockets of eight cores, the threads of core c are c and c + 16.
    # The board has room for more: 112 CPUs are possible.
    "two sockets": Layout(
        possible="0-111",
        online="0-31",
        nodes=with_siblings(runs(8, 2), 16),
        cores=with_siblings(runs(1, 16), 16),
        caches={2: with_siblings(runs(1, 16), 16), 3: with_siblings(runs(8, 2), 16)},
        around={CPU: 1, CORE: 1, LLC: 14, REMOTE: 16, UNKNOWN: 80},
        pairs={(0, 16): CORE, (0, 1): LLC, (0, 8): REMOTE, (8, 31): LLC, (0, 32): UNKNOWN},
    ),
    # x86_64-epyc_7451: two sockets of four nodes of two core complexes of three cores, as later
    # ones are with four nodes per socket (NPS4).
    "EPYC": Layout(
        possible="0-95",
        online="0-95",
        nodes=with_siblings(runs(6, 8), 48),
        cores=with_siblings(runs(1, 48), 48),
        caches={2: with_siblings(runs(1, 48), 48), 3: with_siblings(runs(3, 16), 48)},
        around={CPU: 1, CORE: 1, LLC: 4, NODE: 6, REMOTE: 84},
        pairs={(0, 48): CORE, (0, 2): LLC, (0, 3): NODE, (2, 51): NODE, (0, 6): REMOTE},
    ),
    # 20em64t-hybrid-1p6c2t+2ca4co1t: six cores of two threads, and two clusters of four small
    # cores with a common L2. The last level is still the L3 of all.
    "hybrid": Layout(
        possible="0-19",
        online="0-19",
        nodes=[list(range(20))],
        cores=[*runs(2, 6), *([cpu] for cpu in range(12, 20))],
        caches={2: [*runs(2, 6), [12, 13, 14, 15], [16, 17, 18, 19]], 3: [list(range(20))]},
        around={CPU: 1, CORE: 1, LLC: 18},
        pairs={(0, 1): CORE, (12, 13): LLC, (12, 16): LLC, (0, 12): LLC},
    ),
    # offline-cpu0-node0: node 0 has even numbers, node 1 odd ones; CPUs 0-3 and from 21 on are
    # offline, and with CPU 0 the whole directory of its node is gone. The lists of caches and
    # of the other node still name CPUs that are offline.
    "offline": Layout(
        possible="0-191",
        online="4-20",
        nodes=[list(range(1, 24, 2))],
        cores=[[cpu] for cpu in range(4, 21)],
        caches={
            2: [[cpu] for cpu in range(24)],
            3: [list(range(0, 24, 2)), list(range(1, 24, 2))],
        },
        around={CPU: 1, LLC: 8, REMOTE: 8, UNKNOWN: 175},
        pairs={(4, 6): LLC, (5, 7): LLC, (4, 5): REMOTE, (5, 1): UNKNOWN, (0, 4): UNKNOWN},
    ),
    # s390-kvm: a guest that is told neither caches nor nodes; 64 CPUs could be plugged in.
    "guest": Layout(
        possible="0-63",
        online="0-2",
        nodes=[],
        cores=[[0], [1], [2]],
        caches={},
        around={CPU: 1, NODE: 2, UNKNOWN: 61},
    ),
}


# Bugs: siblings taken for neighbours by number; an L2 of a cluster for the last level; all caches
# of a node for one; CPUs that could be there, or are offline, for CPUs on another node.
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout(tmp_path: Path, layout: Layout) -> None:
    read = machine(
        tmp_path,
        possible=layout.possible,
        online=layout.online,
        nodes=[",".join(map(str, node)) for node in layout.nodes],
        cores=layout.cores,
        caches=[(level, cpus) for level, groups in layout.caches.items() for cpus in groups],
    )
    first = read.online[0]
    around = Counter(Distance(value) for value in read.distances[first, : read.possible].tolist())
    assert around == layout.around
    assert read.classes == {*layout.around} - {UNKNOWN}
    for (one, other), distance in layout.pairs.items():
        assert read.distances[one, other] == read.distances[other, one] == distance, (one, other)
