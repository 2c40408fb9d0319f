"""What the checklist says of a machine, and what it would change there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from locality import cbpf
from locality.changes.kernel import FileChange, TableChange
from locality.changes.system import KernelFiles
from locality.commands.doctor import require_made
from locality.doctor import check_groups, check_spill, facts, placement
from locality.doctor.checklist import Diagnosis, diagnose
from locality.doctor.findings import Finding, Level
from locality.doctor.running import without_effect
from locality.doctor.text import as_json, lines
from locality.doctor.values import Unread, Value
from locality.errors import LocalityError
from locality.machine.ethtool import Channels
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from tests.trees import trees

if TYPE_CHECKING:
    from pathlib import Path

    from locality.doctor.facts import Machine

CARD = "four-queues-mlx5"


@pytest.fixture
def card(tmp_path: Path) -> Machine:
    """A machine of four CPUs with a card of four queues.

    Its interrupts are those of a real one; what the source of that tree does not tell, the
    files of RFS and XPS, is as a well-kept machine would have it.
    """
    links = trees.unpack(CARD, tmp_path)
    for queue in range(4):
        queues = tmp_path / "sys/class/net/eth0/queues"
        (queues / f"rx-{queue}/rps_flow_cnt").write_text("0\n")
        (queues / f"tx-{queue}").mkdir()
        (queues / f"tx-{queue}/xps_cpus").write_text(f"{1 << queue:x}\n")
    (tmp_path / "proc/sys/net/core").mkdir(parents=True)
    (tmp_path / "proc/sys/net/core/rps_sock_flow_entries").write_text("0\n")
    return facts.read(tmp_path, links)


def tree(name: str, root: Path) -> Machine:
    return facts.read(root, trees.unpack(name, root))


def with_device(machine: Machine, **changes: Any) -> Machine:  # noqa: ANN401 - fields of Device
    (device,) = machine.devices
    return replace(machine, devices=(replace(device, **changes),))


def with_link(machine: Machine, **changes: Any) -> Machine:  # noqa: ANN401 - fields of Link
    (device,) = machine.devices
    return with_device(machine, link=replace(device.link, **changes))


def with_masks(machine: Machine, *masks: str) -> Machine:
    """The same with these RPS masks."""
    (device,) = machine.devices
    rx = (
        replace(queue, rps_cpus=queue.rps_cpus and queue.rps_cpus._replace(content=mask))
        for queue, mask in zip(device.rx, masks, strict=True)
    )
    return with_device(machine, rx=tuple(rx))


def arriving(machine: Machine, *cpus: int) -> Machine:
    """The same with queue i's interrupts, RX and TX, on these CPUs; masks stay wide."""
    (device,) = machine.devices
    interrupts = (
        one
        if not (queues := one.rx or one.tx)
        else replace(
            one,
            allowed=one.allowed and one.allowed._replace(content="0-7\n"),
            effective=Value(f"/proc/irq/{one.number}/effective", f"{cpus[queues[0]]}\n"),
        )
        for one in device.interrupts
    )
    return with_device(machine, interrupts=tuple(interrupts))


def found(diagnosis: Diagnosis, subject: str) -> Finding:
    (finding,) = (one for one in diagnosis.findings if one.subject == subject)
    return finding


def writes(finding: Finding) -> dict[str, str]:
    return {one.path: one.new for one in finding.changes if isinstance(one, FileChange)}


# --- queues and interrupts -------------------------------------------------------------------


# Bug: a machine in order is given something to change.
def test_a_card_with_a_queue_a_cpu_is_in_order(card: Machine) -> None:
    diagnosis = diagnose(arriving(card, 0, 1, 2, 3))
    assert [one.subject for one in diagnosis.bad] == []
    assert found(diagnosis, "eth0 interrupts").what == "each RX queue on a CPU of its own: 0-3"
    assert diagnosis.changes == ()


# Bugs: the order of CPUs is taken for a fault; an interrupt that is right is written anyway.
def test_any_order_of_cpus_is_in_order(card: Machine) -> None:
    diagnosis = diagnose(arriving(card, 3, 1, 0, 2))
    assert found(diagnosis, "eth0 interrupts").level is Level.OK


# Bugs: queues on one CPU are missed, or the TX interrupts are left behind.
def test_queues_that_share_a_cpu(card: Machine) -> None:
    finding = found(diagnose(arriving(card, 0, 0, 2, 2)), "eth0 interrupts")
    assert finding.level is Level.COSTS
    assert finding.what.endswith("queues 0-1 on CPU 0; queues 2-3 on CPU 2")
    (device,) = card.devices
    by_number = {f"/proc/irq/{one.number}/smp_affinity_list": one.name for one in device.interrupts}
    changed = {by_number[path].partition("@")[0]: cpu for path, cpu in writes(finding).items()}
    assert changed == {f"mlx5_comp{queue}": f"{queue}" for queue in range(4)}


# Bugs: an interrupt that is already sent elsewhere, and has not come since, counts as where it came
# the last time, so the doctor takes back what it has just put right; one whose mask leaves the
# kernel a choice counts as known.
def test_an_interrupt_that_will_move_when_it_comes(card: Machine) -> None:
    (device,) = arriving(card, 2, 1, 0, 3).devices

    def allowed(*masks: str) -> Diagnosis:
        moved = (
            replace(one, allowed=one.allowed._replace(content=masks[(one.rx or one.tx)[0]]))
            if one.allowed and (one.rx or one.tx)
            else one
            for one in device.interrupts
        )
        return diagnose(with_device(card, interrupts=tuple(moved)))

    fixed = allowed("0", "1", "2", "3")
    assert [one.subject for one in fixed.bad] == []
    assert found(fixed, "eth0 XPS").level is Level.OK
    chosen = writes(found(allowed("0-1", "1", "2", "3"), "eth0 interrupts"))
    assert list(chosen.values()) == ["0"]


# Bugs: where TX queues have interrupts of their own, they are left behind; a queue that is alone
# on its CPU is moved.
def test_interrupts_of_tx_queues_follow(tmp_path: Path) -> None:
    machine = tree("virtio-one-queue", tmp_path)
    (eth0,) = (one for one in machine.devices if one.name == "eth0")
    names = {one.number: one.name for one in eth0.interrupts}
    changes = placement.pinning(machine, eth0)
    assert {names[int(one.path.split("/")[3])]: one.new for one in changes} == {
        "virtio2-input.0": "1",
        "virtio2-output.0": "1",
    }


# Bug: all queues of a real server on CPU 0 (a two-socket machine, as it came).
def test_a_server_with_all_queues_on_one_cpu(tmp_path: Path) -> None:
    finding = found(diagnose(tree("two-sockets-ixgbe", tmp_path)), "eth0 interrupts")
    assert finding.level is Level.COSTS
    assert "queues 0-7 on CPU 0" in finding.what
    assert sorted(writes(finding).values()) == ["1", "2", "3", "4", "5", "6", "7"]


# Bugs: interrupts are spread over both nodes though the card's has CPUs enough; or the reverse.
def test_the_cards_node_comes_first(card: Machine) -> None:
    nodes = {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}
    machine = replace(
        with_device(card, node=Value("/sys/class/net/eth0/device/numa_node", "1\n")),
        online=tuple(range(8)),
        nodes=nodes,
    )
    diagnosis = diagnose(arriving(machine, 0, 1, 4, 5))
    finding = found(diagnosis, "eth0 node")
    assert (finding.level, finding.what) == (
        Level.MAY,
        "the device is on node 1; RX queues 0-1 arrive on another",
    )
    assert set(writes(finding).values()) <= {"4", "5", "6", "7"}
    assert found(diagnose(arriving(machine, 4, 5, 6, 7)), "eth0 node").level is Level.OK


# Bug: what only irqbalance would undo is promised to last.
def test_irqbalance_is_named(card: Machine) -> None:
    machine = replace(card, irqbalance=Value("/proc/812/comm", "irqbalance\n"))
    finding = found(diagnose(machine), "irqbalance")
    assert finding.level is Level.MAY
    assert finding.by_hand == ("systemctl stop irqbalance",)
    assert finding.changes == ()
    assert "--banirq=" in finding.not_applied
    unnamed = found(diagnose(with_device(machine, interrupts=())), "irqbalance")
    assert unnamed.not_applied == "a service is yours to stop"


# Bug: an interrupt whose queue is not known is guessed.
def test_unknown_names_are_not_guessed(card: Machine) -> None:
    (device,) = card.devices
    unknown = tuple(replace(one, rx=(), tx=()) for one in device.interrupts)
    diagnosis = diagnose(with_device(card, interrupts=unknown, doubt="no rule knows them"))
    assert not [one for one in diagnosis.findings if one.subject == "eth0 interrupts"]
    assert [one.source for one in diagnosis.unread] == ["eth0 interrupts"]
    assert diagnosis.changes == ()


# Bugs: unused queues pass for even; a table of a card whose RSS reaches 16 of its 63 queues
# (82599, intel-wired-lan, 2 January 2025) is spread over all 63, which the driver refuses.
def test_rss_tables(card: Machine) -> None:
    table = tuple(index % 2 for index in range(128))
    finding = found(diagnose(with_link(card, indirection=table)), "eth0 RSS table")
    assert (finding.level, finding.what) == (Level.COSTS, "queues 2-3 get nothing")
    (change,) = finding.changes
    assert isinstance(change, TableChange)
    assert change.command == "ethtool -X eth0 equal 4"
    assert change.undo_command == "ethtool -X eth0 weight 64 64"
    assert change.new == tuple(index % 4 for index in range(128))
    skewed = (0,) * 64 + tuple(index % 4 for index in range(64))
    assert found(diagnose(with_link(card, indirection=skewed)), "eth0 RSS table").level is Level.MAY
    short = with_link(card, indirection=table, rss_queues=2)
    finding = found(diagnose(short), "eth0 RSS table")
    assert (finding.level, finding.what) == (Level.MAY, "the card's RSS reaches 2 of 4 queues")
    assert finding.changes == ()


# Bug: a device that could have more queues is not told from one that could not.
def test_more_queues_can_be_had(card: Machine) -> None:
    eight = replace(card, online=tuple(range(8)))
    finding = found(diagnose(with_link(eight, channels=Channels(0, 4, 0, 6))), "eth0 queues")
    assert finding.by_hand == ("ethtool -L eth0 combined 6",)
    assert finding.by_hand_undo == ("ethtool -L eth0 combined 4",)
    full = with_link(eight, channels=Channels(0, 4, 0, 4))
    assert found(diagnose(full), "eth0 queues").level is Level.OK


# --- steering --------------------------------------------------------------------------------


# Bugs: RPS that takes packets away from their CPU is praised; masks that are empty are cleared.
def test_rps_where_every_cpu_has_a_queue(card: Machine) -> None:
    finding = found(diagnose(with_masks(card, "f", "0", "f", "0")), "eth0 RPS")
    assert finding.level is Level.COSTS
    assert {path[-13:]: new for path, new in writes(finding).items()} == {
        "rx-0/rps_cpus": "0",
        "rx-2/rps_cpus": "0",
    }


# Bug: with fewer queues than CPUs RPS is what spreads, and is switched off.
def test_rps_with_fewer_queues_than_cpus(card: Machine) -> None:
    eight = replace(card, online=tuple(range(8)))
    assert found(diagnose(with_masks(eight, *["ff"] * 4)), "eth0 RPS").level is Level.OK


# Bug: one queue and RPS off is the 2017 case of one busy CPU, and goes unnoticed.
def test_one_queue_wants_rps(tmp_path: Path) -> None:
    finding = found(diagnose(tree("virtio-one-queue", tmp_path)), "eth0 RPS")
    assert finding.level is Level.COSTS
    assert finding.fix == ("echo 3 > /sys/class/net/eth0/queues/rx-0/rps_cpus",)
    assert finding.undo == ("echo 0 > /sys/class/net/eth0/queues/rx-0/rps_cpus",)


# Bug: half a set-up of RFS, which does nothing, passes for one.
def test_half_of_rfs(card: Machine) -> None:
    entries = "/proc/sys/net/core/rps_sock_flow_entries"
    on = replace(card, sysctls={"rps_sock_flow_entries": Value(entries, "32768\n")})
    finding = found(diagnose(on), "eth0 RFS")
    assert finding.level is Level.MAY
    assert set(writes(finding).values()) == {"8192"}
    (device,) = card.devices
    rx = tuple(
        replace(one, rps_flow_cnt=one.rps_flow_cnt and one.rps_flow_cnt._replace(content="3000\n"))
        for one in device.rx
    )
    off = with_device(
        replace(card, sysctls={"rps_sock_flow_entries": Value(entries, "0\n")}), rx=rx
    )
    assert writes(found(diagnose(off), "eth0 RFS")) == {entries: "16384"}
    hidden = with_device(replace(card, sysctls={}), rx=rx)
    assert [one.source for one in diagnose(hidden).unread] == [entries]


# Bugs: XPS goes to another queue than the one whose interrupt the CPU serves; a CPU is left out.
def test_xps_follows_the_interrupts(card: Machine) -> None:
    (device,) = card.devices
    none = tuple(mask and mask._replace(content="0\n") for mask in device.xps)
    finding = found(diagnose(arriving(with_device(card, xps=none), 3, 1, 0, 2)), "eth0 XPS")
    assert [one.new for one in finding.changes if isinstance(one, FileChange)] == [
        *("8", "2", "1", "4")
    ]
    six = replace(with_device(card, xps=none), online=tuple(range(6)))
    finding = found(diagnose(arriving(six, 0, 1, 2, 3)), "eth0 XPS")
    assert [one.new for one in finding.changes if isinstance(one, FileChange)] == [
        *("11", "22", "4", "8")
    ]


# Bug: a queue's mask is taken for that of the queue before it, whose mask could not be read.
def test_no_xps_is_changed_where_a_mask_could_not_be_read(card: Machine) -> None:
    (device,) = card.devices
    off = [mask and mask._replace(content="0\n") for mask in device.xps]
    partly = with_device(card, xps=(None, *off[1:]))
    assert "eth0 XPS" not in {
        one.subject for one in diagnose(arriving(partly, 3, 1, 0, 2)).findings
    }


# Bugs: a number of one CPU is read as hexadecimal; zero is praised.
def test_deferred_freeing(card: Machine) -> None:
    path = "/proc/sys/net/core/skb_defer_max"
    zero = replace(card, sysctls={"skb_defer_max": Value(path, "0\n")})
    finding = found(diagnose(zero), "skb_defer_max")
    assert (finding.level, writes(finding)) == (Level.COSTS, {path: "64"})


# Bug: full listen queues are not counted, or a limit that is high enough is to be raised.
def test_full_listen_queues(card: Machine) -> None:
    counters = {
        name: Value("/proc/net/netstat", f"{name} 7") for name in ("ListenOverflows", "ListenDrops")
    }
    low = replace(card, counters=counters, sysctls={"somaxconn": Value("/p", "128\n")})
    finding = found(diagnose(low), "listen queues")
    assert finding.what.startswith("7 times one was full")
    assert finding.undo == ("sysctl -w net.core.somaxconn=128",)
    high = replace(low, sysctls={"somaxconn": Value("/p", "4096\n")})
    assert found(diagnose(high), "listen queues").fix == ()


# --- groups ----------------------------------------------------------------------------------


HERE = 4026531840
"""The network namespace of who works on this machine."""


@pytest.fixture(autouse=True)
def first_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_spill, "first_network_namespace", lambda: HERE)


def group(
    *cpus: set[int],
    program: cbpf.Program | None = None,
    address: str = "0.0.0.0",
    **more: Any,  # noqa: ANN401
) -> FoundGroup:
    """A group whose worker i may run on these CPUs."""
    members = tuple(
        Member(100 + index, (Worker(200 + index, 200 + index, "nginx", frozenset(one)),))
        for index, one in enumerate(cpus)
    )
    known: dict[str, Any] = {"order_known": True, "attached": program is not None, "how": "read"}
    how = {**known, **more}
    return FoundGroup("tcp", address, 80, HERE, 200, 3, Group(members, program=program, **how))


def judged(machine: Machine, one: FoundGroup) -> dict[str, Finding | Unread]:
    answers = check_groups.groups(machine, [one])
    return {
        (answer.subject if isinstance(answer, Finding) else answer.source).removeprefix(
            f"{one} "
        ): answer
        for answer in answers
    }


def level(answer: Finding | Unread) -> Level:
    assert isinstance(answer, Finding)
    return answer.level


PINNED = ({0}, {1}, {2}, {3})


# Bug: the state that the whole project is about goes unnoticed.
def test_a_hashed_group(card: Machine) -> None:
    answers = judged(arriving(card, 0, 1, 2, 3), group(*PINNED))
    choice = answers["choice"]
    assert isinstance(choice, Finding)
    assert choice.level is Level.COSTS
    assert choice.fix == ("locality attach-cbpf --port 80 --map auto",)
    assert choice.undo == ("locality attach-cbpf --port 80 --detach",)
    assert level(answers["workers"]) is Level.OK


# Bugs: of a group in another network namespace the command acts on one in ours; it comes before the
# one that pins the workers, and is refused.
def test_the_command_for_a_group(card: Machine) -> None:
    card = arriving(card, 0, 1, 2, 3)
    there = judged(card, replace(group(*PINNED), netns=HERE + 1))["choice"]
    assert isinstance(there, Finding)
    assert there.fix == (f"locality attach-cbpf --port 80 --netns {HERE + 1} --map auto",)
    assert there.undo == (f"locality attach-cbpf --port 80 --netns {HERE + 1} --detach",)
    assert "workers" not in there.not_applied
    roaming = judged(card, group({0, 1}, {0, 1}, {2}, {3}))["choice"]
    assert isinstance(roaming, Finding)
    assert 'Do first what the finding "workers" says' in roaming.not_applied


# Bugs: cpu % N where it fits is refused; where the workers' order is another it is praised, and
# so is one that leaves workers out.
def test_a_program_is_held_against_the_workers(card: Machine) -> None:
    card = arriving(card, 0, 1, 2, 3)
    fits = judged(card, group(*PINNED, program=cbpf.BUILDERS["cpu"](4)))
    assert level(fits["choice"]) is Level.OK
    turned = judged(card, group({3}, {2}, {1}, {0}, program=cbpf.BUILDERS["cpu"](4)))["choice"]
    assert level(turned) is Level.COSTS
    assert isinstance(turned, Finding)
    assert turned.undo == ("locality attach-cbpf --port 80 --program cpu --group 4",)
    small = judged(card, group(*PINNED, program=cbpf.BUILDERS["cpu"](2)))["choice"]
    assert isinstance(small, Finding)
    assert small.level is Level.COSTS
    assert "indexes 2-3 get nothing" in small.what
    large = judged(card, group(*PINNED, program=cbpf.BUILDERS["cpu"](8)))["choice"]
    assert level(large) is Level.OK  # with four CPUs no answer is past the end
    by_hash = judged(card, group(*PINNED, program=cbpf.BUILDERS["rxhash"](4)))["choice"]
    assert isinstance(by_hash, Finding)
    assert by_hash.what == "rxhash % 4 chooses by rxhash, not by CPU"


# Bug: a program of somebody else's, with an instruction that is not evaluated here, ends the whole
# checklist.
def test_a_program_that_cannot_be_evaluated(card: Machine) -> None:
    copy_to_x = cbpf.Instruction(0x07, 0, 0, 0)
    foreign = cbpf.Program((copy_to_x, cbpf.Instruction(0x16, 0, 0, 0)))
    choice = judged(arriving(card, 0, 1, 2, 3), group(*PINNED, program=foreign))["choice"]
    assert isinstance(choice, Unread)
    assert "cannot evaluate the instruction" in choice.reason


# Bug: workers that may run anywhere are judged as if they were pinned.
def test_workers_that_roam(card: Machine) -> None:
    everywhere = {0, 1, 2, 3}
    workers = judged(arriving(card, 0, 1, 2, 3), group(everywhere, everywhere))["workers"]
    assert isinstance(workers, Finding)
    assert workers.level is Level.COSTS
    assert workers.fix == ("taskset -pc 0 200", "taskset -pc 1 201")
    assert workers.undo == ("taskset -pc 0-3 200", "taskset -pc 0-3 201")


# Bug: workers of a container's cpuset pass for pinned, for they may not run on every CPU there is.
def test_workers_that_roam_within_a_cpuset(card: Machine) -> None:
    sixteen = replace(arriving(card, 0, 1, 2, 3), online=tuple(range(16)))
    program = cbpf.BUILDERS["cpu"](4)
    answers = judged(sixteen, group(*[{0, 1, 2, 3}] * 4, program=program))
    assert level(answers["workers"]) is Level.COSTS
    choice = answers["choice"]
    assert isinstance(choice, Finding)
    assert choice.level is Level.COSTS
    assert "about 1 in 4 connections is local" in choice.what
    # A worker that may run on one of the CPUs that receive, and on others, is on that one.
    one_each = group(*[{cpu, cpu + 8} for cpu in range(4)], program=program)
    assert level(judged(sixteen, one_each)["choice"]) is Level.OK


# Bugs: a worker that somebody pinned is pinned anew, one of several is given a CPU on which it may
# not run, and a thread that serves several sockets or groups is pinned to several CPUs.
def test_pins_are_for_workers_that_roam(card: Machine) -> None:
    card = arriving(card, 0, 1, 2, 3)
    workers = judged(card, group({0}, {0, 1}, {1, 2}, {2, 3}))["workers"]
    assert isinstance(workers, Finding)
    assert workers.fix == ("taskset -pc 1 201", "taskset -pc 2 202", "taskset -pc 3 203")
    plain = group({0, 1}, {0, 1})
    thread = plain.group.members[0].workers
    members = tuple(replace(member, workers=thread) for member in plain.group.members)
    several = [
        replace(plain, address=f"10.0.0.{n}", group=replace(plain.group, members=members))
        for n in range(3)
    ]
    (workers, *_) = check_groups.groups(card, several)
    assert isinstance(workers, Finding)
    assert workers.fix == ("taskset -pc 0 200",)
    assert workers.what.startswith("1 of 1 may run")


# Bugs: what is the same of 200 groups is said 200 times; groups of other ports, or groups in which
# something else was found, go under with them.
def test_what_is_the_same_of_many_groups_is_said_once(card: Machine) -> None:
    card = arriving(card, 0, 1, 2, 3)
    alike = [group(*PINNED, address=f"127.0.0.{n}") for n in range(200)]
    other = group(*PINNED, address="127.0.0.9", program=cbpf.BUILDERS["cpu"](4))
    elsewhere = replace(group(*PINNED), port=81)
    diagnosis = diagnose(card, [*alike, other, elsewhere])
    choices = [one for one in diagnosis.findings if one.subject.endswith("choice")]
    assert [one.subject for one in choices] == [
        "tcp port 80, 200 groups: choice",
        "tcp 127.0.0.9:80 choice",
        "tcp 0.0.0.0:81 choice",
    ]
    assert choices[0].fix == ("locality attach-cbpf --port 80 --map auto",)
    assert len(choices[0].read) == 200
    unknown = [replace(one, group=replace(one.group, order_known=False)) for one in alike]
    sources = [one.source for one in diagnose(card, unknown).unread]
    assert sources == ["tcp port 80, 200 groups: choice"]


# Bugs: RX CPUs are those of all CPUs, and CPUs that receive nothing are missed by nobody; the RPS
# of one queue is taken for that of all.
def test_rx_cpus_are_those_of_the_queues_or_of_rps(card: Machine) -> None:
    assert check_groups.rx_cpus(arriving(card, 0, 0, 2, 2)) == (0, 2)
    assert check_groups.rx_cpus(with_masks(arriving(card, 0, 0, 0, 0), "0", "c", "0", "0")) == (
        *(0, 2, 3),
    )
    assert check_groups.rx_cpus(with_device(card, interrupts=())) == (0, 1, 2, 3)
    idle = judged(arriving(card, 0, 1, 2, 3), group({0}, {1}))["workers"]
    assert level(idle) is Level.MAY


# Bug: SO_INCOMING_CPU that names another worker's CPU passes for a choice by CPU.
def test_incoming_cpu(card: Machine) -> None:
    card = arriving(card, 0, 1, 2, 3)

    def asking(*cpus: int | None) -> FoundGroup:
        plain = group(*PINNED)
        members = tuple(
            replace(member, incoming_cpu=cpu)
            for member, cpu in zip(plain.group.members, cpus, strict=True)
        )
        return replace(plain, group=replace(plain.group, members=members))

    assert level(judged(card, asking(0, 1, 2, 3))["choice"]) is Level.OK
    assert level(judged(card, asking(1, 0, 2, 3))["choice"]) is Level.COSTS
    assert level(judged(card, asking(0, 1, 2, None))["choice"]) is Level.MAY
    # Where it is not known whether the kernel selects by it, neither answer is.
    fits = asking(0, 1, 2, 3)
    doubted = replace(fits, group=replace(fits.group, incoming_doubt="one CPU only"))
    assert judged(card, doubted)["choice"] == Unread(
        "tcp 0.0.0.0:80 choice",
        "whether this kernel selects by SO_INCOMING_CPU is not known: one CPU only",
    )


# Bug: a group whose order could not be read is judged as if the order were known.
def test_what_is_not_known_of_a_group_is_not_judged(card: Machine) -> None:
    card = arriving(card, 0, 1, 2, 3)
    unknown = group(*PINNED, order_known=False, attached=None, how="BPF was refused")
    assert judged(card, unknown)["choice"] == Unread("tcp 0.0.0.0:80 choice", "BPF was refused")
    ebpf = judged(card, group(*PINNED, attached=True))["choice"]
    assert isinstance(ebpf, Unread)


# Bug: a write that the kernel accepts and ignores, such as a mask of offline CPUs, counts as a
# change.
def test_a_write_without_effect_is_no_change(tmp_path: Path) -> None:
    queues = tmp_path / "sys/class/net/eth0/queues"
    paths = [f"/sys/class/net/eth0/queues/rx-{queue}/rps_cpus" for queue in range(3)]
    for queue, content in enumerate(("0\n", "3\n", "0\n")):
        (queues / f"rx-{queue}").mkdir(parents=True)
        (queues / f"rx-{queue}/rps_cpus").write_text(content)
    changes = [FileChange(path, "0\n", "3") for path in paths]
    failed = [f"{changes[2].command}: Read-only file system"]
    assert without_effect(changes, failed, KernelFiles(tmp_path)) == [changes[0]]


# Bug: a plan of which nothing had an effect ends as if all of it were carried out.
def test_a_plan_that_was_not_carried_out_is_an_error() -> None:
    require_made(3, 0, 0)
    with pytest.raises(LocalityError, match=r"^0 of 3 changes were refused, and 3 had no effect$"):
        require_made(3, 0, 3)
    with pytest.raises(LocalityError, match=r"^1 of 3 changes were refused$"):
        require_made(3, 1, 0)


# --- output ----------------------------------------------------------------------------------


# Bugs: a line too wide for a terminal; a command broken so that it is none; escape sequences of a
# process's or a device's name reach the terminal.
@pytest.mark.parametrize("name", trees.names())
def test_text_fits_a_terminal(name: str, tmp_path: Path) -> None:
    machine = tree(name, tmp_path)
    evil = replace(group({0}, {0, 1}), address="0.0.0.0%\x1b[2J")
    diagnosis = diagnose(machine, [evil])
    text = list(lines(diagnosis))
    assert max(map(len, text)) <= 80
    assert all(line.isprintable() for line in text)
    assert text[-1].startswith(f"{len(diagnosis.bad)} finding")
    assert "\x1b" not in as_json(diagnosis)
