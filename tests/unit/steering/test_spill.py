"""Plans with a program that spills, checks before it is attached, and whether it was worth it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest

from locality import cbpf
from locality.accept.batch import ACCEPT, WAIT_KNOWN
from locality.commands import steering_plans
from locality.commands.steering_request import Request
from locality.doctor import check_spill
from locality.doctor.findings import Level
from locality.errors import LocalityError, Unsupported
from locality.explain.causes import Accepted, Cause, Place, cause_of
from locality.machine.topology import Distance
from locality.reuseport.ebpf import EbpfProgram
from locality.reuseport.survey import FoundGroup
from locality.reuseport.target import Target
from locality.spill import program
from locality.spill.attached import Counted as Answers
from locality.spill.attached import Got, Spill
from locality.spill.maps import COUNTS
from locality.steering import attachment, preflight, spill_checks
from locality.steering.count import Counted
from locality.steering.plan import AutoMap, LessCapacity, SpillTable, fixed_bound
from locality.steering.verify import Outcome, verdict_with_waits
from locality.steering.waits import Waits
from tests.unit.spill.made_up import CPUS, FIRST, MACHINE, group, table

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.reuseport.group import Group

EVERYWHERE = frozenset(range(CPUS))
NUMBER = 77


def spilling(*workers: int, counts: dict[str, int] | None = None, bound: int = 2) -> Group:
    """A group with the program, whose table fits it; what each kind of answer was given."""
    by_cpu = np.zeros(CPUS, COUNTS)
    for name, count in (counts or {}).items():
        by_cpu[name][0] = [0, 0, count, 0, 0, 0] if name == "spilled" else count
    answers = Answers(by_cpu, {}, Got(0, 0))
    usual = SpillTable(MACHINE, EVERYWHERE, fixed_bound(bound))(group(*workers))
    return replace(
        group(*workers),
        attached=True,
        ebpf=EbpfProgram(NUMBER, "locality_spill"),
        spill=Spill(NUMBER, usual, answers),
    )


def found(one: Group) -> FoundGroup:
    return FoundGroup("tcp", "0.0.0.0", 80, None, 10, 3, one)


def target(one: Group, kind: str = "tcp") -> Target:
    return Target(9, 6, kind, "127.0.0.1:80", True, True, False, one, {6: 80})


# Bugs: the own worker is another one than that of a map; a CPU without one is hashed; a worker on a
# CPU that does not receive is left out, or refused.
def test_the_plan_is_that_of_a_map_while_queues_are_short() -> None:
    four = group(0, 2, 4, 6)
    planned = SpillTable(MACHINE, EVERYWHERE, fixed_bound(3))(four)
    assert planned.bound == 3
    assert planned.as_map(four.inodes) == AutoMap(MACHINE, EVERYWHERE)(four)
    assert planned.members == set(four.inodes)
    one_rx_cpu = frozenset({0})
    with pytest.raises(LessCapacity):
        AutoMap(MACHINE, one_rx_cpu)(four)
    assert SpillTable(MACHINE, one_rx_cpu, fixed_bound(3))(four).row(0)[0][0] == FIRST


# Bug: a socket whose worker is not known has a place in the table.
def test_no_table_without_knowledge() -> None:
    four = group(0, 2, 4, 6)
    unknown = replace(four, members=(*four.members[:3], replace(four.members[3], workers=())))
    with pytest.raises(LocalityError, match="who serves index 3"):
        SpillTable(MACHINE, EVERYWHERE, fixed_bound(3))(unknown)


# Bug: a group that is being closed has sockets without an inode, which cannot be in any map.
def test_sockets_that_are_being_closed_are_left_out() -> None:
    four = group(0, 2, 4, 6)
    closing = replace(four.members[3], inode=0, workers=())
    planned = SpillTable(MACHINE, EVERYWHERE, fixed_bound(3))(
        replace(four, members=(*four.members[:3], closing))
    )
    assert 0 not in planned.members


# Bugs: a warning where all is well; UDP is attached to, whose flows it would scatter; a bound that
# can never be reached goes without a word.
def test_checks() -> None:
    fits = table(*range(CPUS))
    all_cpus = target(group(*range(CPUS)))
    assert spill_checks.decide(all_cpus, fits, range(CPUS)) == []
    (udp,) = spill_checks.decide(target(group(*range(CPUS)), "udp"), fits, range(CPUS))
    assert udp.level is preflight.Level.REFUSE
    assert "UDP" in udp.text
    (useless,) = spill_checks.decide(target(group(*range(CPUS), limit=2)), fits, range(CPUS))
    assert "overflows before more than 2 wait" in useless.text
    (alone,) = spill_checks.decide(replace(all_cpus, reuseport=False), fits, range(CPUS))
    assert alone.level is preflight.Level.REFUSE


# Bugs: the answers are those of another table, or for queues that nobody asked for.
def test_the_dry_run() -> None:
    four = target(group(0, 2, 4, 6, backlog=1))
    lines = spill_checks.dry_run(four, table(0, 2, 4, 6), [0, 2], None)
    assert "with 1,1,1,1 waiting:" in lines
    assert "with 3,0,0,0 waiting:" in lines
    asked = spill_checks.dry_run(four, table(0, 2, 4, 6), [0, 2], (9, 8, 7, 0))
    assert [line for line in asked if "waiting:" in line] == ["with 9,8,7,0 waiting:"]
    assert "  CPU 0 -> index 1 (llc, spilled)" in asked
    with pytest.raises(LocalityError, match="4 sockets"):
        spill_checks.dry_run(four, table(0, 2, 4, 6), [0], (1, 2))


# Bug: a group with the program looks as if it had none, or one of which nothing is known.
def test_what_a_group_has() -> None:
    two = spilling(0, 4)
    assert two.spill is not None
    assert attachment.present(two) == two.spill.table
    assert not two.is_opaque
    assert "spilling above 2" in attachment.describe_present(two)
    unseen = replace(two, spill=Spill(NUMBER, why="only root sees it"))
    assert unseen.is_opaque
    assert attachment.describe_present(unseen) == "an eBPF program 77 (locality_spill)"


# Bugs: what the program spilled as it should is taken for a wrong map, or for a SYN elsewhere.
def test_the_cause_of_what_was_spilled() -> None:
    two = found(spilling(0, 4))
    spilled = Accepted(10, 10, 3, 4, 0)
    assert cause_of(spilled, Place(two, 1)) is Cause.SPILLED
    assert cause_of(Accepted(10, 10, 3, 0, 4), Place(two, 0)) is Cause.SPILLED


# Bugs: a table of workers that have moved is in order; a group that spills half is, too.
def test_the_doctor_looks_at_the_table_and_the_counters() -> None:
    cpus = (0, 4)
    quiet = check_spill.program(
        found(spilling(0, 4, counts={"kept": 990, "spilled": 10})), cpus, ()
    )
    assert quiet.level is Level.OK
    busy = check_spill.program(
        found(spilling(0, 4, counts={"kept": 800, "spilled": 200})), cpus, ()
    )
    assert busy.level is Level.MAY
    assert "200 spilled (20.0%: llc 200)" in busy.what
    moved = replace(group(4, 0), attached=True, spill=spilling(0, 4).spill)
    wrong = check_spill.program(found(moved), cpus, ())
    assert wrong.level is Level.COSTS
    assert wrong.by_hand == ("locality attach-cbpf --port 80 --map auto --spill 2",)
    new = spilling(0, 4)
    assert new.spill is not None
    new = replace(new, spill=replace(new.spill, outside=frozenset({FIRST + 1})))
    assert check_spill.program(found(new), cpus, ()).level is Level.MAY


# Bugs: a queue that is long everywhere, or that is short, is called a hot worker's.
def test_a_hot_worker_under_a_map() -> None:
    mapped = replace(group(0, 4, limit=100), attached=True, program=cbpf.table({0: 0, 4: 1}))

    def with_queues(*lengths: int) -> FoundGroup:
        members = zip(mapped.members, lengths, strict=True)
        return found(replace(mapped, members=tuple(replace(one, backlog=n) for one, n in members)))

    hot = check_spill.hot_worker(with_queues(60, 1), ())
    assert hot is not None
    assert hot.by_hand == ("locality attach-cbpf --port 80 --map auto --spill auto",)
    assert hot.by_hand_undo == ("locality attach-cbpf --port 80 --map 0:0,4:1",)
    for lengths in ((60, 60), (10, 0), (0, 0)):
        assert check_spill.hot_worker(with_queues(*lengths), ()) is None


def accepts(*columns: Array) -> Array:
    """Records of accepts: when they came and were accepted, ns; socket; RX CPU; CPU."""
    records = np.zeros(len(columns[0]), ACCEPT)
    came, accepted, sockets, rx_cpus, cpus = columns
    records["time"], records["wait"] = accepted, accepted - came
    records["listen_fd"], records["rxcpu"], records["cpu"] = sockets, rx_cpus, cpus
    records["pid"], records["flags"] = 9, WAIT_KNOWN
    return records


# Bug: records are put together in the order of their accepts, or those of two sockets mixed.
def test_arrivals_from_records() -> None:
    times = np.array([10, 30, 20, 40], np.int64)
    waits = Waits()
    waits.write(accepts(times, np.array([50, 60, 70, 80]), np.array([3, 4, 3, 4]), times, times))
    unknown = accepts(times, times, times, times, times)
    unknown["flags"] = 0
    waits.write(unknown)
    seen = waits.arrivals
    assert seen.came.tolist() == [10, 20, 30, 40]
    assert seen.accepted.tolist() == [50, 70, 60, 80]
    assert len(set(seen.sockets.tolist())) == 2
    assert sorted(waits.waits.tolist()) == [30, 40, 40, 50]


def measured(local: float, wait_ms: float, count: int = 4000) -> Counted:
    """A second of accepts in forty readings; waits are exponential with this mean."""
    draw = np.random.default_rng(2)
    counted = Counted(MACHINE)
    came = np.sort(draw.integers(0, 10**9, count))
    waits = draw.exponential(wait_ms * 1e6, count).astype(np.int64)
    rx_cpus = (draw.random(count) >= local).astype(np.int64)
    records = accepts(came, came + waits, np.full(count, 3), rx_cpus, np.zeros(count, np.int64))
    for part in np.array_split(records, 40):
        counted.write(SimpleNamespace(records=part, lost=0))
    return counted


# Bugs: a map is taken back's place by what spills, some locality is given up for short waits, and
# that is called worse and taken back; longer waits without more locality pass for better.
@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ((1.0, 9.0), (0.94, 1.0), Outcome.BETTER),
        ((0.5, 2.0), (0.94, 2.0), Outcome.BETTER),
        ((0.94, 1.0), (0.94, 9.0), Outcome.WORSE),
        ((1.0, 2.0), (0.9, 2.0), Outcome.WORSE),
        ((0.9, 2.0), (0.9, 2.0), Outcome.NOT_SHOWN),
    ],
)
def test_the_verdict_looks_at_waits_too(
    before: tuple[float, float], after: tuple[float, float], outcome: Outcome
) -> None:
    lines, seen = verdict_with_waits(measured(*before), measured(*after), 1.0)
    assert seen is outcome, lines
    assert sum("waited for accept()" in line for line in lines) == 2


def request(**options: Any) -> Request:  # noqa: ANN401 - as on the command line
    nothing = dict.fromkeys(Request.__dataclass_fields__)
    flags = dict.fromkeys(("follow", "detach_on_exit", "detach", "dry_run", "force"), False)
    return Request(**{**nothing, **flags, "means": "cbpf", "port": 80, **options})


# Bug: an option that has no meaning beside another one is passed over.
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"spill": 2, "program": "random"}, "--spill goes with --map auto"),
        ({"spill": 2, "map_": "0:1"}, "--spill goes with --map auto"),
        ({"spill": 2, "proto": "udp"}, "--spill is for TCP"),
        ({"spill": 2, "detach": True}, "--detach goes with"),
        ({"spill": 2, "means": "incoming-cpu"}, "--with incoming-cpu"),
        ({"queues": (1, 2)}, "--queues goes with"),
        ({"queues": (1, 2), "spill": 2}, "--queues goes with"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(click.UsageError, match=complaint):
        request(**options).check()
    request(spill="auto").check()
    request(spill=0, dry_run=True, queues=(1,), verify=1.0).check()


# Bug: a kernel that refuses the program ends the command, or gets a map without a word.
def test_a_kernel_that_refuses_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise Unsupported("the kernel refused the probe spill: Invalid argument")

    monkeypatch.setattr(program, "require", refuse)
    plans = steering_plans.make_plans(request(spill=2, rx_cpus=EVERYWHERE), MACHINE, [])
    assert plans["tcp"](group(0, 4)) == AutoMap(MACHINE, EVERYWHERE)(group(0, 4))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a map alone is attached" in said


# Bug: a UDP group gets the program that looks at accept queues, or a TCP group none.
def test_a_plan_for_each_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "require", lambda: None)
    plans = steering_plans.make_plans(request(spill=5, rx_cpus=EVERYWHERE), MACHINE, [])
    two = group(0, 4)
    assert plans["tcp"](two) == SpillTable(MACHINE, EVERYWHERE, fixed_bound(5))(two)
    assert plans["udp"](two) == AutoMap(MACHINE, EVERYWHERE)(two)


# Bug: the distances of a row are counted from another CPU.
def test_distances_are_those_of_the_machine() -> None:
    assert [one for _, one in table(0, 1, 2, 4).row(0)] == [
        Distance.CPU,
        Distance.CORE,
        Distance.LLC,
        Distance.REMOTE,
    ]


# Bugs: our own table is taken for somebody else's because a socket was closed since, or did not fit
# into the map; one that cannot be read is said to be somebody else's, or ours.
def test_whose_table_it_is() -> None:
    given = SpillTable(MACHINE, EVERYWHERE, fixed_bound(2))(group(0, 2, 4))
    one = spilling(0, 2, 4)
    assert one.spill is not None
    closed = replace(
        one,
        members=one.members[:2],
        spill=replace(one.spill, table=given.without({one.members[2].inode})),
    )
    left_out = one.inodes[1]
    in_part = replace(
        one,
        spill=replace(one.spill, table=given.without({left_out}), outside=frozenset({left_out})),
    )
    hidden = replace(one, spill=Spill(NUMBER, why="no CAP_BPF"))
    unread = replace(one, spill=None, ebpf=None)
    unknown = replace(one, attached=None, spill=None, ebpf=None)
    expected = {
        "ours": (one, True),
        "closed": (closed, True),
        "in part": (in_part, True),
        "another bound": (spilling(0, 2, 4, bound=7), False),
        "a map": (replace(one, spill=None, ebpf=None, program=cbpf.cpu(3)), False),
        "another owner's": (replace(one, spill=None), False),
        "not readable": (hidden, None),
        "no instructions": (unread, None),
        "not asked": (unknown, None),
    }
    assert {name: attachment.has(now, given) for name, (now, _) in expected.items()} == {
        name: whose for name, (_, whose) in expected.items()
    }
    for now, whose in expected.values():
        assert bool(attachment.another(now, given)) == (whose is False)
