"""The program that tosses a coin for each connection: arm A or arm B."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locality import cbpf
from locality.cbpf import Coin, Packet, Program
from locality.cbpf.coin import recognise
from locality.cbpf.describe import describe, option_for
from locality.cbpf.encoding import HASH, LD_ABS, OFFSET, Instruction
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS = st.integers(2, 64)
WORDS = st.integers(0, 2**32 - 1)


@st.composite
def maps(draw: st.DrawFn) -> tuple[dict[int, int], int]:
    """A map from CPU to index, and the size of the group that it is for."""
    group = draw(GROUPS)
    cpus = st.integers(0, 8191)
    return draw(st.dictionaries(cpus, st.integers(0, group - 1), min_size=1, max_size=64)), group


# Bugs: a jump into the wrong table; a CPU's own index among the others; a packet of a CPU that
# nobody named sent to index 0.
@given(maps(), WORDS, WORDS, st.integers(0, 8192))
def test_odd_is_the_map_and_even_another_index(
    made: tuple[dict[int, int], int], coin: int, second: int, cpu: int
) -> None:
    indexes, group = made
    answer = cbpf.evaluate(cbpf.toss(indexes, group), Packet(cpu=cpu, random=(coin, second)))
    if cpu not in indexes:
        assert answer == HASH
    elif coin % 2:
        assert answer == indexes[cpu]
    else:
        assert answer in set(range(group)) - {indexes[cpu]}


# The others must be equally likely, or the trial compares with a worker of our choice. The first
# number is even; the second one takes every remainder equally often.
@pytest.mark.parametrize("group", [2, 3, 4, 7])
@pytest.mark.parametrize("index", [0, 1])
def test_every_other_index_is_equally_likely(group: int, index: int) -> None:
    program = cbpf.toss({5: index}, group)
    draws = [Packet(cpu=5, random=(0, second)) for second in range(group - 1)]
    answers = Counter(cbpf.evaluate(program, packet) for packet in draws)
    assert answers == dict.fromkeys(set(range(group)) - {index}, 1)


# `groups` shows it to who wonders what runs there; and the size of its group must be right.
@given(maps())
def test_it_is_recognised(made: tuple[dict[int, int], int]) -> None:
    indexes, group = made
    program = cbpf.toss(indexes, group)
    assert recognise(program) == Coin(indexes, group)
    assert describe(program) == f"coin: map {cbpf.format_map(indexes)}, or another of {group}"
    assert option_for(program) == ""  # attach-cbpf makes none
    assert program.group == group
    assert program.reads == {"random", "cpu"}


# A program of another make, and one with a single constant changed, must not pass for ours.
@given(maps(), st.data())
def test_nothing_else_is_recognised(made: tuple[dict[int, int], int], data: st.DataObject) -> None:
    program = cbpf.toss(*made)
    place = data.draw(st.integers(0, len(program) - 1))
    changed = list(program.instructions)
    changed[place] = changed[place]._replace(k=changed[place].k ^ (1 << 16))
    try:
        other = Program(tuple(changed))
    except LocalityError:  # jumps past its end
        return
    found = recognise(other)
    assert found is None or cbpf.toss(found.indexes, found.group) == other != program
    assert recognise(cbpf.cpu(4)) is None
    assert recognise(cbpf.table({0: 0, 1: 1})) is None
    # Too short for what its jump promises.
    load = Instruction(LD_ABS, 0, 0, OFFSET["random"])
    assert recognise(Program((load, Instruction(0x45, 1, 0, 1), *cbpf.cpu(2).instructions))) is None


# Bug: a coin for a group of one, or an index past the end of the group, is loaded, and the hash
# decides.
@pytest.mark.parametrize(
    ("indexes", "group", "problem"),
    [
        ({0: 0}, 1, "not one of 1"),
        ({0: 2}, 2, "names index 2, the group has 0 to 1"),
        ({}, 2, "not 0"),
        (dict.fromkeys(range(600), 1), 3, "kernel takes 4096"),
    ],
)
def test_an_impossible_coin_is_refused(
    indexes: Mapping[int, int], group: int, problem: str
) -> None:
    with pytest.raises(LocalityError, match=problem):
        cbpf.toss(indexes, group)
