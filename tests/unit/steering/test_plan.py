"""What program a group shall have, and whether a change was worth it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from locality import cbpf
from locality.commands.steering_plans import receiving_line
from locality.errors import LocalityError
from locality.machine.capabilities import NUMBERS
from locality.machine.topology import Distance, Topology
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.steering import plan
from locality.steering.count import Counted, receiving_cpus
from locality.steering.plan import AutoMap, LessCapacity, by_size, unpinned
from locality.steering.verify import Outcome, verdict
from tests.unit.steering.made_up import group_on

CPUS = 4
DISTANCES = np.full((CPUS + 1, CPUS + 1), Distance.LLC, np.uint8)
np.fill_diagonal(DISTANCES, Distance.CPU)
MACHINE = Topology(CPUS, tuple(range(CPUS)), DISTANCES)
ALL = frozenset(range(CPUS))


def pinned(*cpus: int) -> Group:
    return group_on(*(frozenset({cpu}) for cpu in cpus))


# Bug: CPUs without traffic have a say in who gets what, or are left to the hash.
def test_cpus_that_do_not_receive_get_their_nearest_worker_too() -> None:
    program = AutoMap(MACHINE, frozenset({2, 3}))(pinned(3, 2))
    answers = [cbpf.evaluate(program, cbpf.Packet(cpu=cpu)) for cpu in range(CPUS)]
    assert answers[2:] == [1, 0]
    assert set(answers[:2]) <= {0, 1}


# Bug: a guess where the order, the workers or their CPUs are not known.
@pytest.mark.parametrize(
    ("group", "why"),
    [
        (replace(pinned(0, 1), order_known=False, how="BPF was refused"), "BPF was refused"),
        (group_on(frozenset(), frozenset()), "who serves index 0-1 is not known"),
        (group_on(frozenset({0}), frozenset()), "who serves index 1 is not known"),
        (group_on(frozenset({0}), ALL), "1 of 2 sockets"),
        (group_on(frozenset({0}), frozenset({1, 2})), "1 of 2 sockets"),
    ],
)
def test_no_map_without_knowledge(group: Group, why: str) -> None:
    with pytest.raises(LocalityError, match=why):
        AutoMap(MACHINE, ALL)(group)


# Bug: --force attaches it anyway where nothing is known, and what is known gets all connections.
def test_force_knows_no_more() -> None:
    with pytest.raises(LocalityError, match="not known"):
        AutoMap(MACHINE, ALL, force=True)(group_on(frozenset({0}), frozenset()))
    AutoMap(MACHINE, ALL, force=True)(group_on(frozenset({0}), ALL))


# Bug: workers of a container with some of the CPUs count as pinned, because they may not run on
# every CPU of the machine; a CPU that is offline makes a pinned worker a roaming one.
def test_unpinned_is_who_may_run_on_several_of_the_cpus() -> None:
    container = group_on(*[frozenset({0, 1})] * 2)
    assert unpinned(container, range(16)) == [0, 1]
    assert unpinned(group_on(frozenset({1, 99})), range(4)) == []


# Bug: several threads that accept on one socket, each on its CPU, pass for a worker that can be
# pinned, or for one that is.
def test_no_map_for_a_socket_of_several_threads() -> None:
    threads = tuple(Worker(10, 10 + cpu, "haproxy", frozenset({cpu})) for cpu in range(2))
    shared = Group((Member(100, threads),), True, False, None, "read from the kernel")
    with pytest.raises(LocalityError, match="a socket of its own"):
        AutoMap(MACHINE, ALL)(shared)
    together = tuple(replace(thread, cpus=frozenset({0})) for thread in threads)
    AutoMap(MACHINE, ALL)(replace(shared, members=(Member(100, together),)))


# Bug: one CPU receives, and the map gives everything to its worker: local, and a quarter of the
# server. Where the others had nothing before, nothing is taken from them.
def test_no_map_leaves_cpus_without_work() -> None:
    workers = pinned(0, 1, 2, 3)
    with pytest.raises(LessCapacity, match="CPUs 1-3"):
        AutoMap(MACHINE, frozenset({0}))(workers)
    assert AutoMap(MACHINE, frozenset({0}), force=True)(workers)
    starved = replace(workers, attached=True, program=cbpf.table({0: 1}))
    with pytest.raises(LessCapacity, match="CPUs 1 without"):
        AutoMap(MACHINE, frozenset({0}))(starved)
    assert AutoMap(MACHINE, frozenset({0}))(replace(starved, program=cbpf.table({0: 0})))
    assert AutoMap(MACHINE, frozenset({0, 1}))(pinned(0, 0, 1, 1))  # more workers than CPUs


# Bug: on a machine of one CPU every worker "may run on every CPU" and is refused.
def test_one_cpu_is_home_to_all() -> None:
    one = Topology(1, (0,), DISTANCES[np.ix_([0, CPUS], [0, CPUS])])
    assert AutoMap(one, frozenset({0}))(pinned(0)) == cbpf.table({0: 0})


# Bug: the program is made for the size of another group.
def test_a_program_by_size_is_for_the_group_at_hand() -> None:
    assert by_size(cbpf.random)(pinned(0, 1, 2)) == cbpf.random(3)
    with pytest.raises(LocalityError, match="--group"):
        by_size(cbpf.cpu)(group_on())


def counted(matrix: dict[tuple[int, int], int], machine: Topology = MACHINE) -> Counted:
    """A count, by accept CPU and RX CPU, of forty readings that are like each other."""
    summary = Counted(machine)
    draw = np.random.default_rng(1)
    readings = np.zeros((40, len(Distance)), np.int64)
    for (cpu, rxcpu), number in matrix.items():
        summary.matrix[cpu, rxcpu] = number
        summary.total += number
        summary.local += number if cpu == rxcpu else 0
        distance = int(machine.distances[cpu, rxcpu])
        readings[:, distance] += draw.multinomial(number, [1 / 40] * 40)
    summary.readings = list(readings)
    return summary


# Bug: three connections in a quiet second, and a CPU without one is taken not to receive.
def test_few_connections_do_not_tell_who_receives() -> None:
    assert receiving_cpus(counted({(0, 0): 3})) == ALL
    assert receiving_cpus(counted({(0, 1): 500, (2, 3): 1, (0, -1): 500})) == {1, 3}


# Bugs: that RX CPUs are assumed is not said, or that there is one is read as that there are none.
@pytest.mark.parametrize(
    ("came", "said"),
    [
        ({}, "RX CPUs 0-3: assumed, because no connections were seen"),
        ({(0, 0): 79}, "RX CPUs 0-3: assumed, because only 79 connections were seen"),
        ({(1, 0): 1022}, "received on CPU 0 only (1022 connections seen)"),
        ({(1, 0): 1000, (0, 2): 22}, "received on CPUs 0,2 (1022 connections seen)"),
    ],
)
def test_who_receives_in_words(came: dict[tuple[int, int], int], said: str) -> None:
    seen = counted(came)
    assert receiving_line(seen, receiving_cpus(seen)) == said


# Bugs: worse passes for better, or for no difference and stays; noise passes for better; nothing
# measured passes for proof; a server that was local before fails.
@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ({(0, 0): 50, (0, 1): 50}, {(0, 0): 99, (0, 1): 1}, Outcome.BETTER),
        ({(0, 0): 50, (0, 1): 50}, {(0, 0): 50, (0, 1): 50}, Outcome.NOT_SHOWN),
        ({(0, 0): 5145, (0, 1): 4855}, {(0, 0): 5189, (0, 1): 4811}, Outcome.NOT_SHOWN),
        ({(0, 0): 99, (0, 1): 1}, {(0, 1): 100}, Outcome.WORSE),
        ({(0, 0): 5067, (0, 1): 4933}, {(0, 1): 10_000}, Outcome.WORSE),
        ({(0, 0): 10}, {(1, 1): 10}, Outcome.BETTER),
        ({}, {(0, 0): 10}, Outcome.NOT_SHOWN),
        ({(0, 1): 10}, {}, Outcome.NOT_SHOWN),
    ],
)
def test_the_verdict(
    before: dict[tuple[int, int], int], after: dict[tuple[int, int], int], outcome: Outcome
) -> None:
    lines, seen = verdict(counted(before), counted(after), 1.0)
    assert seen is outcome
    assert [line.split(":")[0] for line in lines if line[0] != " "] == ["before", "after"]


# Bug: the same map is attached again, the figures are the same, and the command ends well without a
# word, though it says that it fails where nothing improved.
def test_nothing_to_improve() -> None:
    perfect = counted({(0, 0): 10, (1, 1): 10})
    said = "  it was 100 % accept-local already: nothing to improve"
    assert said in verdict(perfect, perfect, 1.0)[0]
    for other in (counted({(0, 0): 9, (0, 1): 1}), counted({})):
        assert said not in verdict(perfect, other, 1.0)[0]
        assert said not in verdict(other, perfect, 1.0)[0]


# Bug: somebody without privileges is told that a map cannot be made, and not what to do.
def test_what_to_do_where_the_order_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = Group((Member(1), Member(2)), False, None, None, "counted in /proc, because")
    auto = AutoMap(MACHINE, ALL)
    monkeypatch.setattr(plan, "held", lambda: dict.fromkeys(NUMBERS, False))
    with pytest.raises(LocalityError, match="run it as root, or with CAP_BPF, CAP_PERFMON, CAP_S"):
        auto(hidden)
    monkeypatch.setattr(plan, "held", lambda: dict.fromkeys(NUMBERS, True))
    with pytest.raises(LocalityError, match="locality check shows what this kernel refuses"):
        auto(hidden)


# Bug: two workers for four threads of two cores: a map that keeps all on their core is called
# useless, as accept-local is 0 before and after.
def test_nearer_is_better_too() -> None:
    cores = DISTANCES.copy()
    cores[0, 1] = cores[1, 0] = cores[2, 3] = cores[3, 2] = Distance.CORE
    machine = Topology(CPUS, tuple(range(CPUS)), cores)
    before = counted({(0, 1): 500, (0, 3): 500}, machine)
    after = counted({(0, 1): 500, (2, 3): 500}, machine)
    lines, outcome = verdict(before, after, 1.0)
    assert outcome is Outcome.BETTER
    assert lines[1::2] == [
        "  same CPU 0.0%, same core 50.0%, same LLC 50.0%",
        "  same CPU 0.0%, same core 100.0%, same LLC 0.0%",
    ]
    assert verdict(after, before, 1.0)[1] is Outcome.WORSE


# Bug: without a local worker a larger number is enough, and noise passes for nearer.
def test_nearer_needs_an_interval_too() -> None:
    cores = DISTANCES.copy()
    cores[0, 1] = cores[1, 0] = cores[2, 3] = cores[3, 2] = Distance.CORE
    machine = Topology(CPUS, tuple(range(CPUS)), cores)
    before, after = (counted({(0, 1): near, (0, 3): 1000 - near}, machine) for near in (500, 505))
    assert verdict(before, after, 1.0)[1] is Outcome.NOT_SHOWN
