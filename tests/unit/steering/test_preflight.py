"""What is said of a program before it is attached to a group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.cbpf.describe import describe, option_for
from locality.reuseport.ebpf import EbpfProgram
from locality.reuseport.target import Target
from locality.spill.attached import Spill
from locality.steering.preflight import (
    Finding,
    Level,
    decide,
    dry_run,
    explain,
)
from tests.unit.steering.made_up import group_on

if TYPE_CHECKING:
    from locality.reuseport.group import Group


def target_with(group: Group) -> Target:
    return Target(
        pid=9,
        fd=6,
        kind="tcp",
        address="127.0.0.1:80",
        reuseport=True,
        listening=True,
        connected=False,
        group=group,
        listeners={6: 80},
    )


PINNED = target_with(group_on({0}, {1}, {2}, {3}))


def only(findings: list[Finding], level: Level) -> str:
    assert [finding.level for finding in findings] == [level]
    return findings[0].text


# A check that cries wolf is switched off: a matching group has no findings.
@pytest.mark.parametrize("name", cbpf.BUILDERS)
def test_a_matching_program_passes(name: str) -> None:
    assert decide(PINNED, cbpf.BUILDERS[name](4), 4, range(4)) == []


# Too small starves sockets, too large hashes; the text must say which and how much.


def test_too_small_a_group_starves() -> None:
    said = only(decide(PINNED, cbpf.random(2), 2, range(4)), Level.REFUSE)
    assert "random % 2 is for a group of 2, the one of 127.0.0.1:80 has 4" in said
    assert "indexes 2-3 get nothing at all; use --group 4" in said


def test_too_large_a_group_hashes() -> None:
    said = only(decide(PINNED, cbpf.random(8), 8, range(4)), Level.REFUSE)
    assert "50% of the answers are past its end and hashed; use --group 4" in said


def test_too_large_a_group_names_the_cpus() -> None:
    said = only(decide(PINNED, cbpf.cpu(6), 6, range(6)), Level.REFUSE)
    assert "what CPUs 4-5 process is hashed (2 of 6 CPUs)" in said


def test_a_wrong_size_is_refused_where_it_makes_no_difference_yet() -> None:
    two = target_with(group_on({0}, {1}))
    said = only(decide(two, cbpf.cpu(8), 8, range(2)), Level.REFUSE)
    assert said.endswith(
        "on this machine's CPUs (0-1) that makes no difference, but it would if another CPU came "
        "online, so it is taken for a mistake; use --group 2"
    )


# Bug: an eBPF program of another owner is replaced, and nobody can put it back.
def test_a_program_that_could_not_be_put_back_is_refused() -> None:
    theirs = replace(PINNED.group, attached=True, ebpf=EbpfProgram(12, "balance"))
    said = only(decide(target_with(theirs), cbpf.cpu(4), 4, range(4)), Level.REFUSE)
    assert said == (
        "127.0.0.1:80: the group has an eBPF program 12 (balance) of another owner, which could "
        "not be put back"
    )


# Bug: a program that is attached again is said to replace itself.
def test_a_program_that_the_group_has_already() -> None:
    program = cbpf.cpu(4)
    same = target_with(replace(PINNED.group, attached=True, program=program))
    assert "the group has cpu % 4 already" in explain(same, program, range(4))
    assert "random % 4 replaces cpu % 4" in explain(same, cbpf.random(4), range(4))


# Bug: our own program that spills is taken for another owner's where its table cannot be read, so
# that a service with few capabilities cannot start again.
def test_our_own_program_is_replaced_though_its_table_cannot_be_read() -> None:
    ours = EbpfProgram(12, "locality_spill")
    unseen = replace(PINNED.group, attached=True, ebpf=ours, spill=Spill(12, why="EPERM"))
    assert unseen.is_opaque
    assert decide(target_with(unseen), cbpf.cpu(4), 4, range(4)) == []


# The right size on a machine with fewer CPUs: some workers are idle, which is for the user.
def test_fewer_cpus_than_sockets_is_a_warning() -> None:
    said = [finding.text for finding in decide(PINNED, cbpf.cpu(4), 4, range(2))]
    assert said == ["with CPUs 0-1 indexes 2-3 get nothing at all"]


# A map claims no group size; it is judged by where it points.
@pytest.mark.parametrize(
    ("indexes", "level", "expected"),
    [
        ({0: 0, 1: 4}, Level.REFUSE, "is for a group of 5, the one of 127.0.0.1:80 has 4"),
        ({0: 0, 1: 1, 2: 1, 3: 0}, Level.REFUSE, "indexes 2-3 get nothing at all"),
        ({0: 1, 1: 0}, Level.WARN, "(CPU 0: index 1, served on CPUs 1)"),
    ],
)
def test_a_map(indexes: dict[int, int], level: Level, expected: str) -> None:
    findings = decide(PINNED, cbpf.table(indexes), None, range(4))
    assert findings[0].level is level
    assert expected in findings[0].text


# Bug: the map made for a server with more workers than CPUs is refused, so --follow would end
# at its start where, running, it would have gone on.
def test_a_map_cannot_feed_more_workers_than_there_are_cpus() -> None:
    said = only(decide(PINNED, cbpf.table({0: 0, 1: 1}), None, range(2)), Level.WARN)
    assert "with CPUs 0-1 indexes 2-3 get nothing at all" in said


# Bug: the size that the user stated is passed over where a map is given.
def test_a_map_for_a_stated_group_of_the_wrong_size_is_refused() -> None:
    findings = decide(PINNED, cbpf.table({0: 0}), 2, range(4))
    assert findings[0].level is Level.REFUSE
    assert "is for a group of 2, the one of 127.0.0.1:80 has 4" in findings[0].text


# --group 4 with index 5 in the map: the size is right, the map is not.
def test_a_map_past_the_end_of_the_stated_group_is_refused() -> None:
    findings = decide(PINNED, cbpf.table({0: 5}), 4, range(4))
    assert findings[0].level is Level.REFUSE
    assert findings[0].text.endswith("use every index from 0 to 3")


# Reversed affinity with cpu % N was measured at 0.00 % local: the tool must say so, and
# the map it offers must itself pass.
def test_reversed_workers_get_the_map_that_fits() -> None:
    reverse = target_with(group_on({1}, {0}))
    said = only(decide(reverse, cbpf.cpu(2), 2, range(2)), Level.WARN)
    assert said.endswith("this fits: --map 0:1,1:0")
    assert "CPUs 0-1 process goes to workers elsewhere" in said
    fitting = cbpf.table(cbpf.parse_map(said.rpartition(" ")[2]))
    assert decide(reverse, fitting, None, range(2)) == []


# Bug: workers are to be moved for a program that does not look at CPUs.
def test_a_program_that_ignores_cpus_is_not_blamed_for_placement() -> None:
    assert decide(target_with(group_on({1}, {0})), cbpf.random(2), 2, range(2)) == []


# Bug: a worker that may run everywhere counts as one on the right CPU.
def test_workers_on_every_cpu_are_to_be_pinned() -> None:
    loose = target_with(group_on({0, 1}, {0, 1}))
    assert "pin them first" in only(decide(loose, cbpf.cpu(2), 2, range(2)), Level.WARN)


# Bug: connections go to a socket that nobody accepts from, without a word.
def test_a_socket_nobody_waits_for() -> None:
    findings = decide(target_with(group_on({0}, set())), cbpf.cpu(2), 2, range(2))
    assert "no thread was seen to wait for index 1:" in findings[0].text


# Bug: a group that was only counted in /proc gets a program, though nobody knows what it does.
@pytest.mark.parametrize("program", [cbpf.cpu(2), cbpf.cpu(3), cbpf.random(2), cbpf.table({0: 1})])
def test_a_group_that_was_not_seen_is_refused(program: cbpf.Program) -> None:
    unsure = replace(group_on({1}, {0}), order_known=False, how="counted in /proc")
    said = only(decide(target_with(unsure), program, 2, range(2)), Level.REFUSE)
    assert "could not be seen" in said
    assert "counted in /proc (locality check" in said


# Bug: a socket that can have no program reaches the kernel, whose errno is all that the user gets.
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "unix"}, "of kind unix; only TCP and UDP"),
        ({"kind": "mptcp"}, "of kind mptcp"),
        ({"connected": True, "listening": False}, "a connection, not a listening socket"),
        ({"reuseport": False}, "alone on 127.0.0.1:80: it has no SO_REUSEPORT"),
        ({"listening": False}, "not listening"),
    ],
)
def test_an_unfit_socket_is_refused(changes: dict[str, object], expected: str) -> None:
    target = replace(PINNED, **changes)  # type: ignore[arg-type]
    said = only(decide(target, cbpf.cpu(4), 4, range(4)), Level.REFUSE)
    assert expected in said
    assert said.endswith("pid 9 listens on fd 6 (port 80)")


# Bug: a socket that is not bound yet is refused, or passes as checked.
def test_a_udp_socket_before_bind_cannot_be_checked() -> None:
    unbound = replace(target_with(group_on()), kind="udp", listening=False)
    assert "joined no group yet" in only(decide(unbound, cbpf.cpu(4), 4, range(4)), Level.WARN)


# Bug: a program is described as another one, or one that is not known has no description.
def test_programs_in_words() -> None:
    assert [describe(build(3)) for build in cbpf.BUILDERS.values()] == [
        "cpu % 3",
        "random % 3",
        "queue % 3",
        "rxhash % 3",
    ]
    assert describe(cbpf.table({1: 0, 0: 1})) == "map 0:1,1:0"
    bare = cbpf.Program((*cbpf.cpu(3).instructions[:1], cbpf.Instruction(0x16, 0, 0, 0)))
    assert describe(bare) == "a program of 2 instructions"


# The dry run is a promise: it must come from the evaluator, not from a second formula.
def test_the_dry_run() -> None:
    assert dry_run(cbpf.table({0: 1, 1: 0}), [2, 1, 0])[-4:] == [
        "",
        "CPU 0 -> index 1",
        "CPU 1 -> index 0",
        "CPU 2 -> hash",
    ]
    assert dry_run(cbpf.cpu(2), range(3))[-3:] == [
        "CPU 0 -> index 0",
        "CPU 1 -> index 1",
        "CPU 2 -> index 0",
    ]
    assert dry_run(cbpf.queue(2), range(3))[-3:] == [
        "any CPU, RX queue 0 -> index 0",
        "any CPU, RX queue 1 -> index 1",
        "any CPU, no RX queue recorded -> hash",
    ]
    assert dry_run(cbpf.random(4), range(3))[-1] == "any CPU -> index 0 to 3, by random"


# Bugs: what is replaced, or which descriptors are in other groups, is not told.
def test_the_explanation() -> None:
    group = replace(group_on({0}, {0}), attached=True, program=cbpf.random(2))
    target = replace(target_with(group), listeners={6: 80, 7: 80, 9: 443})
    assert explain(target, cbpf.cpu(2), range(2)) == [
        "127.0.0.1:80 (tcp): a group of 2, read from the kernel",
        "fd 9 (port 443) is in another group",
        "cpu % 2 replaces random % 2",
        "packets of CPUs 0 go to a worker that may run there",
        "index 0: pid 10 nginx, CPUs 0",
        "index 1: pid 11 nginx, CPUs 0",
    ]


CONTROL = cbpf.Control(4, 0x80)
UDP = replace(PINNED, kind="udp", listening=False)


# Bugs: the socket set aside counts as starved, or as the only one; a hash that is meant counts as
# an answer past the end; a program for another size passes.
@pytest.mark.parametrize("others", cbpf.OTHERS)
def test_control_traffic_fits_its_group(others: str) -> None:
    program = cbpf.payload(4, replace(CONTROL, others=others))
    assert decide(UDP, program, 4, range(4)) == []
    assert decide(UDP, program, None, range(4)) == []
    if others != "hash":
        small = cbpf.payload(3, replace(CONTROL, others=others))
        said = only(decide(UDP, small, 3, range(4)), Level.REFUSE)
        assert "payload[4] == 0x80 -> 0" in said
        assert "indexes 3 get nothing at all; use --group 4" in said


# Bug: on a TCP group it is attached, and every connection is an "other".
def test_control_traffic_is_no_connection() -> None:
    said = only(decide(PINNED, cbpf.payload(4, CONTROL), 4, range(4)), Level.REFUSE)
    assert "a TCP SYN has no payload" in said


# Bug: what is printed to make or undo it by hand makes another program.
def test_control_traffic_in_words() -> None:
    program = cbpf.payload(4, cbpf.Control(4, 0x80, 0xC0))
    assert describe(program) == "payload[4] & 0xc0 == 0x80 -> 0, others random % 3 + 1"
    assert option_for(program) == (
        "--program payload --payload-offset 4 --mask 0xc0 --value 0x80 --others random --group 4"
    )
    assert dry_run(program, range(2))[-2:] == [
        "payload[4] & 0xc0 == 0x80 -> index 0",
        "any other, or shorter -> index 1 to 3, by random",
    ]
    by_hash = cbpf.payload(4, replace(CONTROL, others="hash"))
    assert describe(by_hash) == "payload[4] == 0x80 -> 0, others by hash"
    assert dry_run(by_hash, range(2))[-1] == "any other, or shorter -> hash, over all indexes"
