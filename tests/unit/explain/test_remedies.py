"""What is promised for each cause, on groups and counts made up here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.changes.kernel import FileChange
from locality.changes.server import AffinityChange, ProgramChange
from locality.explain.causes import Cause, attribute, shares
from locality.explain.remedies import Situation, best, remedies
from locality.steering.capacity import at_work
from tests.unit.explain.test_causes import PID, PINNED, found, in_doubt, places_of, shared, tally
from tests.unit.steering.test_plan import MACHINE

if TYPE_CHECKING:
    from locality.explain.causes import Tally
    from locality.explain.remedies import Remedy
    from locality.reuseport.survey import FoundGroup

RPS = FileChange("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n", "f")


def situation(one: FoundGroup, seen: Tally, *spreading: FileChange) -> Situation:
    places = places_of(one)
    told = attribute(seen, places)
    return Situation(told, shares(seen, places), MACHINE, "--port 80", spreading)


def applied(now: Situation) -> Remedy | None:
    return best(now, remedies(now))


def attached(remedy: Remedy) -> list[cbpf.Program]:
    programs = [change.new for change in remedy.changes if isinstance(change, ProgramChange)]
    return [program for program in programs if isinstance(program, cbpf.Program)]


def pins(remedy: Remedy) -> dict[int, frozenset[int]]:
    return {one.tid: one.new for one in remedy.changes if isinstance(one, AffinityChange)}


# Bug: the map is promised to do more for CPUs without a worker, or less for those with one.
def test_a_map_is_worth_what_cpus_with_a_worker_receive() -> None:
    now = situation(PINNED, tally(*((i, i, cpu, 100 + cpu) for i in (0, 1) for cpu in range(4))))
    found_ = remedies(now)
    assert found_.keys() == {Cause.NO_PROGRAM, Cause.NO_WORKER}
    by_map, more = found_[Cause.NO_PROGRAM], found_[Cause.NO_WORKER]
    assert by_map.predicted == 2 * (100 + 101)
    assert by_map.commands == ("locality attach-cbpf --port 80 --map auto",)
    assert "SYN and ACK" in by_map.note
    (program,) = attached(by_map)
    assert [cbpf.evaluate(program, cbpf.Packet(cpu=cpu)) for cpu in (0, 1)] == [0, 1]
    assert (more.predicted, more.changes) == (now.attribution.total, ())
    assert "CPU 2-3" in more.commands[0]
    assert applied(now) == by_map


# Bugs: a wrong program hides how often SYN and ACK agree; that part is promised too.
def test_what_has_its_syn_elsewhere_is_not_promised_to_a_map() -> None:
    wrong = found([1], [0], program=cbpf.cpu(2))
    # CPU 0 received 100; of 20 of them the SYN was on CPU 1, whose answer is index 1.
    now = situation(wrong, tally((0, 1, 0, 80), (1, 0, 0, 20), (1, 0, 1, 100)))
    by_map = remedies(now)[Cause.WRONG_WORKER]
    assert by_map.predicted == pytest.approx(180)
    assert by_map.note == ""


# Bug: a program of somebody else's, with an instruction that is not evaluated here, ends explain.
def test_a_program_that_cannot_be_evaluated() -> None:
    copy_to_x = cbpf.Instruction(0x07, 0, 0, 0)
    foreign = cbpf.Program((copy_to_x, cbpf.Instruction(0x16, 0, 0, 0)))
    now = situation(found([0], [1], program=foreign), tally((0, 0, 0, 30), (1, 1, 0, 20)))
    assert now.attribution.causes == {Cause.OTHER: 20}
    assert remedies(now) == {}
    remedy = applied(now)
    assert remedy is not None
    assert remedy.predicted == 50


# Bug: a map is proposed, or applied, for a group whose listeners have SO_INCOMING_CPU, while it is
# not known whether the kernel selects by it: where it does, a map changes nothing here.
def test_nothing_is_proposed_on_what_is_not_known() -> None:
    known = found([0], [1], incoming=(0, 1))
    seen = tally((0, 0, 1, 50), (1, 1, 1, 50))
    now = situation(in_doubt(known), seen)
    assert now.attribution.causes == {Cause.OTHER: 50}
    assert remedies(now) == {}
    assert applied(now) is None
    assert remedies(situation(known, seen)).keys() == {Cause.SYN_ELSEWHERE}


# Bugs: spreading is promised where nothing here does it; the map it needs is left out.
def test_spreading_by_flow() -> None:
    right = found([0], [1], [2], [3], program=cbpf.cpu(4))
    seen = tally((0, 0, 0, 60), (0, 0, 1, 40), (1, 1, 1, 100))
    by_hand = remedies(situation(right, seen))[Cause.SYN_ELSEWHERE]
    assert (by_hand.changes, by_hand.predicted) == ((), 200)
    spread = remedies(situation(right, seen, RPS))[Cause.SYN_ELSEWHERE]
    assert (spread.changes, spread.predicted) == ((RPS,), 200)
    assert applied(situation(right, seen, RPS)) == spread
    # Two workers of four CPUs: what the others will receive is not promised.
    few = found([0], [1], program=cbpf.cpu(2))
    spread = remedies(situation(few, seen, RPS))[Cause.SYN_ELSEWHERE]
    assert spread.predicted == pytest.approx(100)


# Bugs: workers are pinned to CPUs that receive nothing, two to one; a worker that is on an RX CPU
# is moved; the program is made for where they were.
def test_pinning_puts_every_worker_on_an_rx_cpu_of_its_own() -> None:
    wide = found(range(4), [3], range(4), program=cbpf.cpu(3))
    now = situation(wide, tally((0, 1, 3, 50), (2, 3, 2, 300), (1, 3, 1, 200)))
    by_pin = remedies(now)[Cause.NOT_PINNED]
    assert pins(by_pin) == {PID: {2}, PID + 2: {1}}
    (program,) = attached(by_pin)
    answers = [cbpf.evaluate(program, cbpf.Packet(cpu=cpu)) for cpu in (1, 2, 3)]
    assert answers == [2, 0, 1]
    assert by_pin.predicted == 550
    assert by_pin.commands[:2] == (f"taskset -pc 2 {PID}", f"taskset -pc 1 {PID + 2}")
    assert applied(now) == by_pin


# Bug: one thread that serves several sockets is pinned to two CPUs, one after the other.
def test_a_thread_of_several_sockets_is_not_pinned() -> None:
    one = found(range(4), range(4))
    seen = tally((0, 1, 0, 50), (1, 0, 1, 50))
    thread = {key._replace(tid=7): count for key, count in seen.counts.items()}
    seen.counts.clear()
    seen.counts.update(thread)
    now = situation(one, seen)
    assert Cause.NOT_PINNED not in remedies(now)
    assert applied(now) is None


# Bugs: an eBPF program is replaced, and cannot be put back; a change for nothing is made.
def test_what_is_left_alone() -> None:
    group = replace(PINNED.group, attached=True)
    now = situation(replace(PINNED, group=group), tally((0, 0, 1, 50), (1, 1, 1, 50)))
    assert applied(now) is None
    for program in (None, cbpf.table(dict.fromkeys(range(4), 0))):
        alone = found([0], program=program)
        now = situation(alone, tally((0, 0, 1, 50), (0, 0, 0, 50)))
        assert applied(now) is None


# Bug: connections of sockets in no group are promised to become local, or to cease to be.
def test_what_is_in_no_group_stays_as_it_is() -> None:
    now = situation(PINNED, tally((0, 0, 1, 50), (5, 0, 0, 30), (5, 0, 1, 20)))
    assert remedies(now)[Cause.NO_PROGRAM].predicted == 80


# Bug: a thread that its operator pinned is moved, because another place would suit the map.
def test_an_operators_pin_is_kept() -> None:
    mixed = found([1], range(4))
    now = situation(mixed, tally((0, 1, 0, 500), (1, 0, 1, 500), (1, 2, 0, 500)))
    remedy = remedies(now)[Cause.NOT_PINNED]
    assert pins(remedy) == {PID + 1: frozenset({0})}
    crossed = found([1], [0], program=cbpf.cpu(2))
    now = situation(crossed, tally((0, 1, 0, 500), (1, 0, 1, 500)))
    assert all(not pins(remedy) for remedy in remedies(now).values())


# Bug: a thread is pinned to a CPU outside of those it may use, as of its container.
def test_a_pin_stays_within_what_is_allowed() -> None:
    container = found([2, 3], [2, 3])
    now = situation(container, tally((0, 2, 3, 500), (1, 3, 2, 500)))
    assert set(pins(remedies(now)[Cause.NOT_PINNED]).values()) == {frozenset({2}), frozenset({3})}


# Bug: all workers are pinned to the only CPU that receives: "100 % local", and half of the server
# or less; or a map gives all connections to its worker.
def test_nothing_leaves_cpus_without_work() -> None:
    free = found(range(4), range(4))
    now = situation(free, tally((0, 1, 0, 500), (1, 2, 0, 500)))
    assert all(not remedy.changes for remedy in remedies(now).values())
    assert applied(now) is None
    pinned = found([0], [1])
    now = situation(pinned, tally((0, 0, 0, 250), (1, 1, 0, 250)))
    (remedy,) = remedies(now).values()
    assert (remedy.changes, remedy.predicted) == ((), now.attribution.local)
    assert "CPUs 1" in remedy.commands[0]
    assert applied(now) is None


# Bug: several threads of one socket are pinned together; what nobody was seen to serve is pinned
# or mapped from a guess.
def test_what_is_not_one_known_thread_a_socket_is_not_pinned() -> None:
    free = found(range(4), range(4))
    first, second = free.group.members
    both = (*first.workers, replace(first.workers[0], tid=99))
    for changed in (replace(first, workers=both), replace(first, workers=())):
        group = replace(free.group, members=(changed, second))
        now = situation(replace(free, group=group), tally((1, 1, 0, 500), (1, 0, 1, 500)))
        assert all(not remedy.changes for remedy in remedies(now).values())


# Bug: workers that can run on two CPUs between them count for as many as there are workers.
@pytest.mark.parametrize(
    ("allowed", "cpus"),
    [
        ([{0}, {0}], 1),
        ([{0, 1}, {0, 1}, {0, 1}], 2),
        ([{0, 1}, {0}], 2),
        ([{0, 1}, {1, 2}, {0}], 3),
        ([], 0),
    ],
)
def test_on_how_many_cpus_threads_can_be_at_work(allowed: list[set[int]], cpus: int) -> None:
    assert at_work([frozenset(one) for one in allowed]) == cpus


# Bugs: all threads of one socket are pinned to one CPU, or to one each, which changes nothing; a
# program is promised to choose among them, or for a socket that takes none.
def test_several_threads_of_one_socket_need_sockets_of_their_own() -> None:
    for shares_port in (True, False):
        one = shared(found(range(4), range(4)), shares=shares_port)
        now = situation(one, tally((0, 1, 0, 50), (0, 1, 1, 50)))
        (remedy,) = remedies(now).values()
        assert "a socket of its own" in remedy.commands[0]
        assert (remedy.changes, remedy.predicted) == ((), 100)
        assert applied(now) is None


# Bugs: one thread on one socket is pinned where half of the connections come, which gains
# nothing; it is not pinned where all of them come; a program is made for its socket.
def test_a_thread_alone_is_pinned_where_that_helps() -> None:
    alone = replace(found(range(4)), shares=False)
    even = situation(alone, tally((0, 1, 0, 50), (0, 1, 1, 50)))
    assert "a socket of its own" in remedies(even)[Cause.NOT_PINNED].commands[0]
    assert applied(even) is None
    one_cpu = situation(alone, tally((0, 1, 2, 50), (0, 2, 2, 50)))
    by_pin = remedies(one_cpu)[Cause.NOT_PINNED]
    assert pins(by_pin) == {PID: {2}}
    assert not attached(by_pin)
    assert by_pin.predicted == 100
    assert applied(one_cpu) == by_pin
