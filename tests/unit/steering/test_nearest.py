"""The automatic map: near where it can be, and nobody starves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locality.machine.topology import Distance, Topology
from locality.steering.nearest import fitting_map, nearest_map
from tests.unit.steering.made_up import group_on

# Two dies of two cores of two threads: CPUs 0,1 a core; 0-3 a last-level cache.
CPUS = 8


def two_dies() -> Topology:
    distances = np.full((CPUS + 1, CPUS + 1), Distance.NODE, np.uint8)
    for size, distance in ((4, Distance.LLC), (2, Distance.CORE), (1, Distance.CPU)):
        for first in range(0, CPUS, size):
            distances[first : first + size, first : first + size] = distance
    distances[CPUS, :] = distances[:, CPUS] = Distance.UNKNOWN
    return Topology(CPUS, tuple(range(CPUS)), distances)


MACHINE = two_dies()


def pinned(*cpus: int) -> list[frozenset[int]]:
    return [frozenset({cpu}) for cpu in cpus]


def distance(cpu: int, worker: frozenset[int]) -> Distance:
    """How far a worker is from an RX CPU at worst."""
    allowed = np.array(sorted(worker))
    return Distance(MACHINE.distance(np.full_like(allowed, cpu), allowed).max())


def words(workers: list[frozenset[int]], receiving: range | list[int]) -> list[str]:
    mapped = nearest_map(workers, receiving, MACHINE)
    return [distance(cpu, workers[index]).word for cpu, index in mapped.items()]


# Bug: the order of the group is taken for the order of the CPUs.
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_a_worker_on_every_cpu_is_local_in_any_order(order: list[int]) -> None:
    assert nearest_map(pinned(*order), range(4), MACHINE) == {
        cpu: index for index, cpu in enumerate(order)
    }


# Bug: with half as many workers as RX CPUs the others go across the machine, as `cpu % 4` does.
def test_fewer_workers_get_the_cpus_of_their_core() -> None:
    assert nearest_map(pinned(0, 2, 4, 6), range(8), MACHINE) == {cpu: cpu // 2 for cpu in range(8)}
    assert set(words(pinned(0, 2, 4, 6), range(8))) == {"cpu", "core"}


# Bug: RX CPUs 0,2,4,6 and `cpu % 4`: two of four workers starve.
def test_every_worker_gets_a_cpu_where_only_some_receive() -> None:
    assert nearest_map(pinned(0, 2, 4, 6), [0, 2, 4, 6], MACHINE) == {0: 0, 2: 1, 4: 2, 6: 3}


# Bug: nearest alone leaves the workers of the other die without a connection.
def test_a_starving_worker_takes_the_cpu_that_loses_least() -> None:
    mapped = nearest_map(pinned(0, 2, 4, 6), range(4), MACHINE)
    assert mapped == {0: 0, 2: 1, 1: 2, 3: 3}


# Bug: several workers on the CPUs of one cache, and one gets them all.
def test_workers_equally_near_share_evenly() -> None:
    die = frozenset(range(4))
    mapped = nearest_map([die, die], range(8), MACHINE)
    assert sorted(mapped.values()) == [0] * 4 + [1] * 4
    assert set(words([die, die], range(4))) == {"llc"}


# Bug: a worker that may run anywhere counts as being on every CPU.
def test_a_pinned_worker_is_nearer_than_one_that_may_be_there() -> None:
    roaming = frozenset(range(8))
    assert nearest_map([roaming, *pinned(1)], [0, 1], MACHINE)[1] == 1


# Bug: a socket that nobody serves gets connections, and they wait for ever.
def test_a_socket_without_a_worker_gets_nothing() -> None:
    assert set(nearest_map([frozenset(), *pinned(0)], range(4), MACHINE).values()) == {1}
    assert nearest_map([frozenset()], range(4), MACHINE) == {}


# Bugs: a CPU without an answer; a worker without a CPU though there are enough; a worker on
# the very CPU passed over without need.
@given(
    workers=st.lists(
        st.frozensets(st.integers(0, CPUS - 1), min_size=1), min_size=1, max_size=2 * CPUS
    ),
    receiving=st.sets(st.integers(0, CPUS - 1), min_size=1),
)
def test_what_holds_for_every_machine(workers: list[frozenset[int]], receiving: set[int]) -> None:
    mapped = nearest_map(workers, receiving, MACHINE)
    assert set(mapped) == receiving
    if len(receiving) >= len(workers):
        assert set(mapped.values()) == set(range(len(workers)))
    else:
        for cpu, index in mapped.items():
            if frozenset({cpu}) in workers:
                assert workers[index] == {cpu}


# Two workers on one CPU and a CPU without any: the CPU with workers alternates, the other
# is left out, for a wrong index there would be worse than the hash.
def test_the_fitting_map() -> None:
    assert fitting_map(group_on({2}, {0, 1}, {0, 1}, {0}), range(4)) == {0: 3, 1: 1, 2: 0}
    assert fitting_map(group_on({0, 1}, {0, 1}), range(2)) == {0: 0, 1: 1}
