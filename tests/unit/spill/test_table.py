"""Which worker for which CPU, and the others in what order."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from locality import cbpf
from locality.errors import LocalityError
from locality.machine.topology import Distance
from locality.spill import table as tables
from locality.spill.table import Table
from tests.unit.spill.made_up import CPUS, FIRST, MACHINE, table


# Bugs: the own worker is not the first; the others stand in the order of the group, or the nearest
# is last; a worker that may run on several CPUs is as near as the nearest of them.
def test_the_own_worker_first_then_by_distance() -> None:
    row = table(6, 2, 1, 0).row(0)
    assert [inode - FIRST for inode, _ in row] == [3, 2, 1, 0]
    assert [distance for _, distance in row] == [
        Distance.CPU,
        Distance.CORE,
        Distance.LLC,
        Distance.REMOTE,
    ]
    roaming = tables.make(1, {0: 7}, {7: {0}, 8: {1, 4}, 9: {2}}, MACHINE)
    assert [inode for inode, _ in roaming.row(0)] == [7, 9, 8]


# Bug: all CPUs turn to the same worker first where several are equally near.
def test_equally_near_workers_come_in_another_order_for_each_cpu() -> None:
    four = table(0, 2, 4, 6)
    remote = {
        cpu: [inode for inode, distance in four.row(cpu) if distance is Distance.REMOTE]
        for cpu in (0, 2)
    }
    assert sorted(remote[0]) == sorted(remote[2])
    assert remote[0] == remote[2]  # behind index 0 and 1 comes 2
    assert [inode - FIRST for inode, _ in four.row(4)][2:] == [0, 1]
    five = tables.make(1, {4: 4, 5: 5}, {i: {0} for i in range(4)} | {4: {4}, 5: {5}}, MACHINE)
    assert [i for i, apart in five.row(5) if apart is Distance.REMOTE] == [0, 1, 2, 3]


# Bugs: a table of indexes that is wrong once a socket has left; a CPU whose worker has left is
# mapped to another index.
def test_as_a_map_it_follows_the_order_of_the_group() -> None:
    three = table(0, 2, 4)
    usual = three.as_map([FIRST, FIRST + 2])
    assert usual == cbpf.table({0: 0, 4: 1})
    assert three.as_map([1, 2, 3]) is None


# Bug: a CPU without a worker of its own gets the row of another CPU.
def test_a_cpu_without_a_worker_has_no_row() -> None:
    assert table(0, 2, own={0: 0}).row(2) == []


# Bugs: two tables that differ are taken for the same, or the same for different ones, and --follow
# writes them anew every second.
def test_equality() -> None:
    one = table(0, 2, 4)
    assert one == table(0, 2, 4)
    assert hash(one) == hash(table(0, 2, 4))
    assert one != table(0, 2, 4, bound=3)
    assert one != table(0, 4, 2)
    assert one != table(0, 2)
    assert one != "a table"


# Bug: sockets that cannot be put into the map are asked for all the same.
def test_without_some_sockets() -> None:
    less = table(0, 2, 4).without({FIRST + 2})
    assert less.cpus == (0, 2)
    assert [inode - FIRST for inode, _ in less.row(2)] == [1, 0]
    assert table(0, 2).without(()) == table(0, 2)
    nobody = table(0).without({FIRST})
    assert nobody.cpus == ()
    assert nobody.as_map([FIRST]) is None


# Bugs: an undo file gives another table back; one that somebody has changed ends in a traceback.
def test_json() -> None:
    one = table(0, 2, 4)
    assert Table.from_json(json.loads(json.dumps(one.to_json()))) == one
    wrongs: tuple[dict[str, object], ...] = (
        {"bound": -1},
        {"bound": 1 << 32},
        {"cpus": [0]},
        {"cpus": [0, 2, 1 << 20]},
        {"sockets": [[1], [2, 3], [4]]},
        {"sockets": [[-1] * 3] * 3},
        {"sockets": [[1 << 64] * 3] * 3},
        {"sockets": [1, 2, 3], "distances": [0, 0, 0]},
        {"sockets": [[], [], []], "distances": [[], [], []]},
        {"distances": [[9] * 3] * 3},
        {"distances": [[300] * 3] * 3},
    )
    for wrong in wrongs:
        with pytest.raises((TypeError, ValueError)):
            Table.from_json({**one.to_json(), **wrong})
    none = Table.from_json({"bound": 2, "cpus": [], "sockets": [], "distances": []})
    assert none == one.without(one.members)
    with pytest.raises(KeyError):
        Table.from_json({})


# Bug: sockets past the end of the table are left out, and nobody is told.
def test_no_group_is_too_large_without_a_word() -> None:
    many = {inode: {0} for inode in range(tables.MOST_SOCKETS + 1)}
    with pytest.raises(LocalityError, match="up to 4096"):
        tables.make(1, {0: 0}, many, MACHINE)


# Bug: a worker whose CPU is offline passes for a near one.
def test_offline_cpus_are_far() -> None:
    machine = replace(MACHINE, online=tuple(range(CPUS - 1)))
    assert tables.make(1, {0: 1}, {1: {0}, 2: set()}, machine).row(0)[1][1] is Distance.UNKNOWN
