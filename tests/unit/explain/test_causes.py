"""Causes of accepts that were not local, on groups and counts made up here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from locality import cbpf
from locality.accept.batch import ACCEPT, AcceptBatch
from locality.explain.causes import Accepted, Cause, Place, Tally, attribute, cause_of, shares
from locality.explain.observe import Observation
from locality.explain.text import as_object, cause_lines, seen_lines, tenths
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.steering.count import Counted
from tests.unit.recordings import META

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.explain.causes import Places

PID = 10
ALL = frozenset(range(4))


def found(
    *cpus: Iterable[int],
    program: cbpf.Program | None = None,
    incoming: tuple[int | None, ...] = (),
) -> FoundGroup:
    """A group whose worker i may run on the i-th CPUs; no CPUs is no worker."""
    members = tuple(
        Member(
            100 + i,
            (Worker(PID + i, PID + i, "nginx", frozenset(allowed)),) if allowed else (),
            incoming[i] if incoming else None,
        )
        for i, allowed in enumerate(cpus)
    )
    group = Group(members, True, program is not None, program, "read from the kernel")
    return FoundGroup("tcp", "0.0.0.0", 80, 1, PID, 3, group)


def places_of(one: FoundGroup) -> Places:
    """Worker i accepts on its fd 3 + i."""
    return {(PID + i, 3 + i): Place(one, i) for i in range(len(one.group.members))}


def accept(index: int, cpu: int, rxcpu: int) -> Accepted:
    return Accepted(PID + index, PID + index, 3 + index, cpu, rxcpu)


def tally(*counts: tuple[int, int, int, int]) -> Tally:
    """Counts of (index, CPU, RX CPU, connections)."""
    return Tally(Counter({accept(*one[:3]): one[3] for one in counts}))


def observed(one: FoundGroup, seen: Tally) -> Observation:
    places = places_of(one)
    counted = Counted(META.machine, total=seen.total, local=seen.local)
    told, of_groups = attribute(seen, places), shares(seen, places)
    return Observation(1, [one], places, told, of_groups, None, counted)


# Bugs: a batch replaces the one before; records are mixed up by column; lost ones are hidden.
def test_the_tally_counts_every_record() -> None:
    counted = Tally()
    columns = ["listen_fd" if name == "socket" else name for name in Accepted._fields]
    rows = [(1, 11, 3, 0, 1), (1, 11, 3, 0, 1), (1, 12, 4, 1, 1), (1, 11, 3, 0, -1)]
    for lost, chosen in ((2, rows[:1]), (5, rows[1:])):
        records = np.zeros(len(chosen), ACCEPT)
        for field, column in zip(columns, zip(*chosen, strict=True), strict=True):
            records[field] = column
        counted.write(AcceptBatch(records, 0, lost))
    assert counted.counts == Counter(map(Accepted._make, rows))
    assert (counted.total, counted.local, counted.lost) == (4, 1, 5)


PINNED = found([0], [1])


# Bugs: one cause hides another that comes first; a guess where nothing is known.
@pytest.mark.parametrize(
    ("group", "one", "cause"),
    [
        (found(ALL, ALL), accept(0, 1, 0), Cause.NOT_PINNED),
        (found(ALL, ALL, program=cbpf.cpu(2)), accept(0, 1, 0), Cause.NOT_PINNED),
        (PINNED, accept(0, 3, 1), Cause.NOT_PINNED),  # moved
        (PINNED, accept(0, 0, 2), Cause.NO_WORKER),
        (found([0], [1], program=cbpf.cpu(2)), accept(0, 0, 2), Cause.NO_WORKER),
        (found([0], [1], []), accept(0, 0, 2), Cause.NO_PROGRAM),  # index 2 may be there
        (found([0], []), accept(1, 1, 0), Cause.OTHER),
        (PINNED, accept(0, 0, 1), Cause.NO_PROGRAM),
        (PINNED, accept(0, 0, -1), Cause.OTHER),
        (found([1], [0], program=cbpf.cpu(2)), accept(0, 1, 0), Cause.WRONG_WORKER),
        (found([0], [1], program=cbpf.cpu(1)), accept(0, 0, 1), Cause.WRONG_WORKER),
        (found([0], [1], program=cbpf.cpu(2)), accept(0, 0, 1), Cause.SYN_ELSEWHERE),
        (found([0], [1], program=cbpf.table({0: 0})), accept(0, 0, 1), Cause.OUT_OF_RANGE),
        (found([0], [1], program=cbpf.table({1: 2})), accept(0, 0, 1), Cause.OUT_OF_RANGE),
        (found([0], [1], program=cbpf.random(2)), accept(0, 0, 1), Cause.BLIND),
        (found([0], [1], incoming=(1, 0)), accept(0, 0, 1), Cause.WRONG_WORKER),
        (found([0], [1], incoming=(0, 1)), accept(0, 0, 1), Cause.SYN_ELSEWHERE),
        (found([0], [1], incoming=(0, None)), accept(0, 0, 1), Cause.NO_PROGRAM),
    ],
)
def test_the_cause(group: FoundGroup, one: Accepted, cause: Cause) -> None:
    assert cause_of(one, places_of(group).get((one.pid, one.socket))) is cause


def in_doubt(one: FoundGroup) -> FoundGroup:
    """A group of which it is not known whether its SO_INCOMING_CPU does anything."""
    return replace(one, group=replace(one.group, incoming_doubt="it may run on one CPU only"))


# Bugs: where it could not be tested whether the kernel selects by SO_INCOMING_CPU, it is taken to
# ignore it (the hash chose), or to select by it (the SYN was elsewhere); nobody says why not.
def test_an_effect_that_is_not_known_is_no_cause() -> None:
    asking = in_doubt(found([0], [1], incoming=(0, 1)))
    assert cause_of(accept(0, 0, 1), Place(asking, 0)) is Cause.OTHER
    # For a CPU that no socket asks for the hash chooses, whatever the kernel does.
    partly = in_doubt(found([0], [1], incoming=(0, None)))
    assert cause_of(accept(0, 0, 1), Place(partly, 0)) is Cause.NO_PROGRAM
    seen = observed(asking, tally((0, 0, 1, 5), (0, 0, 0, 5)))
    text = " ".join(" ".join(cause_lines(seen, {})).split())
    assert "100.0% cannot be told" in text
    assert "whether this kernel selects by it is not known" in text
    assert "nothing is proposed that depends on it: it may run on one CPU only" in text
    assert as_object(seen, {})["incoming_cpu_not_known"] == {
        "tcp 0.0.0.0:80": "it may run on one CPU only"
    }


def shared(one: FoundGroup, **more: Any) -> FoundGroup:  # noqa: ANN401
    """The first socket alone, with all the workers."""
    workers = tuple(worker for member in one.group.members for worker in member.workers)
    members = (replace(one.group.members[0], workers=workers),)
    return replace(one, group=replace(one.group, members=members), **more)


# Bugs: what whichever thread wakes first takes is put to a hash that does not choose, or to pins
# that are there; a CPU that none of the threads may run on is forgotten.
def test_the_cause_where_several_threads_serve_one_socket() -> None:
    group = shared(PINNED)
    alone = shared(PINNED, shares=False)
    one = accept(0, 1, 0)
    assert cause_of(one, Place(group, 0)) is Cause.SHARED
    assert cause_of(one, Place(alone, 0)) is Cause.ONE_LISTENER
    assert cause_of(one, Place(alone, 0, moves=True)) is Cause.MOVES
    assert cause_of(accept(0, 1, 2), Place(alone, 0)) is Cause.NO_WORKER
    single = replace(found([0]), shares=False)
    assert cause_of(accept(0, 0, 1), Place(single, 0)) is Cause.NO_WORKER


# Bug: a datagram is said to have had its SYN on another CPU.
def test_a_datagram_has_no_syn() -> None:
    group = replace(found([0], [1], program=cbpf.cpu(2)), protocol="udp")
    assert cause_of(accept(0, 0, 1), Place(group, 0)) is Cause.OTHER
    assert cause_of(accept(0, 1, 1), Place(group, 0)) is Cause.NOT_PINNED


# Bug: what was not read passes for "none".
def test_what_is_not_known_is_not_guessed() -> None:
    one = accept(0, 0, 1)
    assert cause_of(one, None) is Cause.OTHER
    for unknown in (
        {"order_known": False, "attached": None},
        {"attached": True},  # and no classic program: it is an eBPF one
    ):
        group = replace(PINNED.group, **unknown)
        assert cause_of(one, Place(replace(PINNED, group=group), 0)) is Cause.OTHER
    odd = cbpf.Program((cbpf.Instruction(0x87, 0, 0, 0), cbpf.Instruction(0x16, 0, 0, 0)))  # txa
    assert cause_of(one, Place(found([0], [1], program=odd), 0)) is Cause.OTHER


# Bugs: local connections get a cause; some get none, or two.
def test_causes_add_up_to_what_is_not_local() -> None:
    told = attribute(
        tally((0, 0, 0, 7), (0, 0, 1, 5), (1, 1, 0, 3), (1, 1, 2, 2)), places_of(PINNED)
    )
    assert (told.total, told.local) == (17, 7)
    assert told.causes == {Cause.NO_PROGRAM: 8, Cause.NO_WORKER: 2}
    assert told.examples[Cause.NO_PROGRAM] == accept(0, 0, 1)


# Bug: percentages that are rounded one by one add up to 99.9.
def test_shares_add_up() -> None:
    told = attribute(tally((0, 0, 1, 1), (0, 0, 2, 1), (0, 0, -1, 1)), places_of(PINNED))
    assert sorted(tenths(told).values()) == [333, 333, 334]


# Bugs: where all CPUs have one answer, agreement is "seen" in it; by-chance hits count as proof.
def test_where_the_syn_was_is_told_by_the_socket() -> None:
    counts = tally((0, 0, 0, 60), (1, 1, 0, 40), (1, 1, 1, 100))

    def agreement(group: FoundGroup, cpu: int, seen: Tally = counts) -> float | None:
        (share,) = shares(seen, places_of(group))
        return share.agreement(cpu)

    assert agreement(found([0], [1], program=cbpf.cpu(2)), 0) == pytest.approx(0.6)
    assert agreement(found([0], [1], program=cbpf.cpu(2)), 1) == 1
    assert agreement(found([0], [1], program=cbpf.cpu(1)), 0) is None
    assert agreement(PINNED, 0) is None
    assert agreement(found([0], [1], program=cbpf.table({0: 0})), 0) is None
    # Four CPUs, two answers: a third of the SYNs that were elsewhere hit by chance.
    four = tally(*((i, i, cpu, 50) for i in range(2) for cpu in range(4)))
    by_chance = agreement(found([0], [1], program=cbpf.cpu(2)), 0, four)
    assert by_chance == pytest.approx((1 / 2 - 1 / 3) / (1 - 1 / 3))


# Bugs: a line wider than a terminal; a socket of another group passes for one of these.
def test_the_text() -> None:
    reversed_ = found([1], [0], program=cbpf.cpu(2))
    seen = observed(reversed_, tally((0, 1, 0, 600), (1, 0, 1, 390), (5, 0, 1, 10)))
    lines = [*seen_lines("seen", seen), *cause_lines(seen, {})]
    assert max(map(len, lines)) <= 80
    assert lines[0] == "seen: 0.00% accept-local, 1000 accepted in 1 s, 0 lost"
    assert " 99.0%  the program sends the RX CPU to a worker elsewhere" in lines
    assert "  1.0%  cannot be told" in lines
    assert "cpu % 2 sends what CPU 0 received to index 0, whose worker runs on CPU 1" in " ".join(
        " ".join(lines).split()
    )
    stranger = observed(PINNED, tally((5, 0, 1, 10)))
    assert "a socket of none of these groups" in " ".join(
        " ".join(cause_lines(stranger, {})).split()
    )
