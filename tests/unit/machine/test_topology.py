"""Distances between CPUs, from trees in sysfs's form."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locality.errors import LocalityError
from locality.machine import topology
from locality.machine.topology import WORDS, Distance, parse_cpu_list
from tests.unit.sysfs import listed, machine, write

if TYPE_CHECKING:
    from random import Random

CPU, CORE, LLC, NODE, REMOTE, UNKNOWN = Distance


def between(read: topology.Topology, *pairs: tuple[int, int]) -> list[Distance]:
    one, other = np.array(pairs).T
    return [Distance(int(value)) for value in read.distance(one, other)]


# "0-3,8" read as [0, 3, 8] leaves out the CPUs in between.
@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0\n", [0]), ("0-3,8\n", [0, 1, 2, 3, 8]), ("1,3-4\n", [1, 3, 4]), ("\n", []), ("", [])],
)
def test_lists(text: str, cpus: list[int]) -> None:
    assert parse_cpu_list(text) == cpus


# Bugs: a list that no kernel writes is expanded until memory is gone (0-99999999999), or half of
# it is passed over (3-0); digits of another script are CPUs.
@pytest.mark.parametrize("text", ["0-99999999999", "8192", "3-0", "0,,٣", "1_0", "+1", "0-", "-1"])
def test_no_list_of_cpus(text: str) -> None:
    with pytest.raises(ValueError, match=r"no whole number|names no CPUs"):
        parse_cpu_list(text)


def test_no_mask_of_cpus() -> None:  # bug: as above
    for text in ("f" * 10_000, "-f", "0xf", "f_f", ""):
        with pytest.raises(ValueError, match=r"hexadecimal|more CPUs"):
            topology.parse_cpu_mask(text)


# Bug: where /sys is not there, or is not the kernel's, every command ends in a traceback.
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is sysfs mounted"), ("0-99999999999\n", "names no CPUs"), ("\n", "lists no CPU")],
)
@pytest.mark.parametrize("name", ["possible", "online"])
def test_sysfs_that_does_not_tell(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    machine(tmp_path, possible="0", online="0", nodes=[], cores=[])
    (tmp_path / "cpu" / name).unlink()
    if content is not None:
        write(tmp_path / "cpu" / name, content)
    with pytest.raises(LocalityError, match=f"cpu/{name}.*{said}"):
        topology.read(tmp_path)


# Bug: of CPUs that the machine does not have distances are kept, or asked for past the end.
def test_sysfs_that_names_more_cpus_than_there_are(tmp_path: Path) -> None:
    machine(tmp_path, possible="0-1", online="0-1", nodes=["0-4095"], cores=[[0, 1]])
    write(tmp_path / "cpu/cpu0/topology/thread_siblings_list", "0-99999999999\n")
    read = topology.read(tmp_path)
    assert between(read, (0, 1), (1, 0)) == [NODE, CORE]


# A table with a row for each CPU there is, and not for each number there can be, is too short
# for a machine with holes.
def test_possible_is_the_highest_number(tmp_path: Path) -> None:
    write(tmp_path / "cpu/possible", "0-3,8-9\n")
    assert topology.possible_cpus(tmp_path) == 10


# A small virtual machine has no caches and perhaps no nodes: no file may be missed.
@pytest.mark.parametrize("nodes", [[], ["0"]])
@pytest.mark.parametrize("cores", [[], [[0]]])
def test_one_cpu_without_caches(tmp_path: Path, nodes: list[str], cores: list[list[int]]) -> None:
    read = machine(tmp_path, possible="0", online="0", nodes=nodes, cores=cores)
    assert (read.possible, read.online) == (1, (0,))
    assert between(read, (0, 0), (0, 1), (0, -1)) == [CPU, UNKNOWN, UNKNOWN]
    assert read.classes == {CPU}


# Two sockets of two cores of two threads, numbered as Linux does: threads of a core are 4
# apart. The last level is 3; level 2 (a core's) or the order of the directories must not win.
def test_two_sockets(tmp_path: Path) -> None:
    read = machine(
        tmp_path,
        possible="0-7",
        online="0-7",
        nodes=["0-1,4-5", "2-3,6-7"],
        cores=[[0, 4], [1, 5], [2, 6], [3, 7]],
        caches=[
            *((level, [cpu, cpu + 4]) for cpu in range(4) for level in (1, 1)),
            *((3, cpus) for cpus in ([0, 1, 4, 5], [2, 3, 6, 7])),
            *((2, [cpu, cpu + 4]) for cpu in range(4)),
        ],
    )
    assert between(read, (0, 0), (0, 4), (0, 1), (0, 5), (0, 2), (0, 6)) == [
        CPU,
        CORE,
        LLC,
        LLC,
        REMOTE,
        REMOTE,
    ]


# One node of two caches (chiplets), and a cache over two nodes (sub-NUMA clustering): the
# nearer of the two words is the right one, whichever is read last.
def test_caches_and_nodes_do_not_nest_always(tmp_path: Path) -> None:
    chiplets = machine(
        tmp_path / "chiplets",
        possible="0-3",
        online="0-3",
        nodes=["0-3"],
        caches=[(3, [0, 1]), (3, [2, 3])],
    )
    assert between(chiplets, (0, 1), (0, 2)) == [LLC, NODE]
    clusters = machine(
        tmp_path / "clusters",
        possible="0-3",
        online="0-3",
        nodes=["0-1", "2-3"],
        caches=[(3, [0, 1, 2, 3])],
    )
    assert between(clusters, (0, 1), (0, 2)) == [LLC, LLC]


# Without NUMA directories all CPUs are on one node; "remote" would be a made-up finding.
def test_without_nodes(tmp_path: Path) -> None:
    read = machine(tmp_path, possible="0-1", online="0-1", cores=[[0], [1]])
    assert between(read, (0, 1)) == [NODE]


# A node of memory alone has an empty list of CPUs.
def test_a_node_without_cpus(tmp_path: Path) -> None:
    read = machine(tmp_path, possible="0-1", online="0-1", nodes=["0-1", ""])
    assert between(read, (0, 1)) == [NODE]


# An offline CPU has no topology directory and is in no node's list. Packets may still carry
# its number; it must be no error, and neither nearer nor farther than it is known to be.
def test_an_offline_cpu(tmp_path: Path) -> None:
    read = machine(
        tmp_path,
        possible="0-3",
        online="0-1,3",
        nodes=["0-1,3"],
        cores=[[0, 1], [3]],
        caches=[(2, [0, 1]), (2, [3])],
    )
    assert read.online == (0, 1, 3)
    assert read.possible == 4
    assert between(read, (0, 1), (1, 3), (2, 2)) == [CORE, NODE, CPU]
    assert between(read, (0, 2), (2, 1), (2, 3)) == [UNKNOWN] * 3
    assert read.classes == {CPU, CORE, NODE}


# rxcpu is -1 where the stack noted none. numpy takes -1 for the last row: it must be the row
# of "no CPU", and a number beyond the machine must not end in an IndexError.
def test_no_cpu_is_at_no_distance(tmp_path: Path) -> None:
    read = machine(tmp_path, possible="0-1", online="0-1", nodes=["0-1"])
    cpus = np.array([-1, -2, 2, 3, 4096, 2**31 - 1])
    assert read.distance(cpus, np.zeros(6, int)).tolist() == [UNKNOWN] * 6
    assert read.distance(np.ones(6, int), cpus).tolist() == [UNKNOWN] * 6
    assert read.distance(cpus, cpus).tolist() == [UNKNOWN] * 6
    unset = np.array([2**32 - 1], np.uint32)  # -1 in an unsigned field
    assert read.distance(unset, np.array([0])).tolist() == [UNKNOWN]


# The words of the output belong to the values by position.
def test_words() -> None:
    assert [str(word) for word in WORDS] == ["cpu", "core", "llc", "node", "remote", "unknown"]
    assert all(WORDS[distance] == distance.word for distance in Distance)


# A matrix that is not symmetric, or a CPU that is not at distance 0 of itself: rows and columns
# mixed up, or one side of a pair written only.
@settings(max_examples=25, deadline=None)
@given(
    sockets=st.integers(1, 3),
    cores=st.integers(1, 3),
    threads=st.integers(1, 2),
    numa=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_any_regular_machine(
    *, sockets: int, cores: int, threads: int, numa: bool, random: Random
) -> None:
    cpus = list(range(sockets * cores * threads))
    random.shuffle(cpus)
    by_core = [sorted(cpus[first : first + threads]) for first in range(0, len(cpus), threads)]
    size = cores * threads
    by_socket = [sorted(cpus[first : first + size]) for first in range(0, len(cpus), size)]
    with tempfile.TemporaryDirectory() as directory:
        read = machine(
            Path(directory),
            possible=f"0-{len(cpus) - 1}",
            online=f"0-{len(cpus) - 1}",
            nodes=[listed(socket).strip() for socket in by_socket] if numa else [],
            cores=by_core,
            caches=[*((1, core) for core in by_core), *((3, socket) for socket in by_socket)],
        )
    expected = np.full((len(cpus), len(cpus)), REMOTE if numa else NODE)
    for nearer, groups in ((LLC, by_socket), (CORE, by_core), (CPU, [[cpu] for cpu in cpus])):
        for group in groups:
            expected[np.ix_(group, group)] = nearer
    inside = read.distances[:-1, :-1]
    assert (inside == inside.T).all()
    assert (inside == expected).all()
    assert (read.distances[-1] == UNKNOWN).all()
    assert (read.distances[:, -1] == UNKNOWN).all()
