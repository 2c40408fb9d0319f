"""Machines as people have reported them, and relatives of theirs: what is right for each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from locality.changes.kernel import FileChange, TableChange
from locality.doctor import check_groups, facts
from locality.doctor.checklist import Diagnosis, diagnose
from locality.doctor.findings import Level
from locality.doctor.text import lines
from tests.trees import trees
from tests.trees.made import card

if TYPE_CHECKING:
    from pathlib import Path

    from locality.doctor.facts import Machine


def made(root: Path, *cpus: int | str, **how: Any) -> Machine:  # noqa: ANN401 - see `card`
    """A card whose queue i arrives on the i-th of these CPUs; RPS is off."""
    interrupts = [(f"eth0-TxRx-{queue}", str(cpu)) for queue, cpu in enumerate(cpus)]
    how.setdefault("rx", ("0",) * len(cpus))
    root.mkdir(exist_ok=True)
    return facts.read(root, trees.unpack_text(card(interrupts, **how), root))


def what(diagnosis: Diagnosis, part: str) -> str:
    (finding,) = (one for one in diagnosis.findings if one.subject == f"eth0 {part}")
    return finding.what


def level(diagnosis: Diagnosis, part: str) -> Level:
    (finding,) = (one for one in diagnosis.findings if one.subject == f"eth0 {part}")
    return finding.level


def writes(diagnosis: Diagnosis) -> dict[str, str]:
    """What --fix would write, by the end of the path: irq/51, rx-0/rps_cpus."""
    changes = [one for one in diagnosis.changes if isinstance(one, FileChange)]
    paths = [one.path.removesuffix("/smp_affinity_list") for one in changes]
    return {
        "/".join(path.split("/")[-2:]): one.new for path, one in zip(paths, changes, strict=True)
    }


# --- as reported -----------------------------------------------------------------------------


# Bug: buffer-refill and error interrupts are taken for those of queues 1 and 2, and moved.
def test_a_thunderx(tmp_path: Path) -> None:
    machine = facts.read(tmp_path, trees.unpack("thunderx-nicvf", tmp_path))
    diagnosis = diagnose(machine)
    assert [one.number for one in machine.devices[0].rx_interrupts] == [50, 51, 52, 53]
    assert what(diagnosis, "interrupts") == "each RX queue on a CPU of its own: 0-3"
    assert (diagnosis.bad, diagnosis.changes) == ((), ())


# Bug: XPS masks that are right are rewritten to follow queues that nobody knows.
def test_a_gvnic(tmp_path: Path) -> None:
    diagnosis = diagnose(facts.read(tmp_path, trees.unpack("gve-xps-follows-irq", tmp_path)))
    assert [one.source for one in diagnosis.unread] == ["eth0 interrupts"]
    assert (diagnosis.bad, diagnosis.changes) == ((), ())


# Bug: interrupts, RPS and XPS are sent to CPUs that were isolated on purpose.
def test_isolated_cpus(tmp_path: Path) -> None:
    machine = facts.read(tmp_path, trees.unpack("isolated-cpus", tmp_path))
    diagnosis = diagnose(machine)
    assert "kept on the housekeeping CPUs 0-1" in what(diagnosis, "interrupts")
    assert what(diagnosis, "interrupts").endswith("CPUs 2-7 are isolated")
    assert (diagnosis.bad, diagnosis.changes) == ((), ())
    assert check_groups.rx_cpus(machine) == (0, 1)


# Bug: what is set on the first queue is taken for the setting of all.
def test_rps_on_the_first_queue_alone(tmp_path: Path) -> None:
    machine = facts.read(tmp_path, trees.unpack("rps-first-queue-only", tmp_path))
    diagnosis = diagnose(machine)
    assert check_groups.rx_cpus(machine) == (1, 2, 3, 7)
    assert what(diagnosis, "RPS").startswith(
        "on for queue 0 alone, to CPU 7; packets of queues 1-3"
    )
    assert what(diagnosis, "RFS").endswith("no table of flows for queues 1-3")
    # What was meant is not known: no mask is made up.
    assert not [path for path in writes(diagnosis) if "rps_cpus" in path]


# --- isolated CPUs and cpusets ---------------------------------------------------------------

ISOLATED: dict[str, Any] = {
    "online": "0-7",
    "files": {"sys/devices/system/cpu/isolated": "2-7"},
}


# Bugs: a plan for queues that share a CPU, RPS or XPS uses CPUs that were kept free, whichever way
# they were.
@pytest.mark.parametrize(
    "files",
    [
        {"sys/devices/system/cpu/isolated": "2-7"},
        {"sys/devices/system/cpu/nohz_full": "2-7"},
        {"sys/fs/cgroup/cpuset.cpus.effective": "0-1"},
        {"sys/fs/cgroup/cpuset.cpus.isolated": "2-7"},
        {
            "proc/self/cgroup": "0::/system.slice/a.service",
            "sys/fs/cgroup/system.slice/cpuset.cpus.effective": "0-1",
            "sys/fs/cgroup/cpuset.cpus.effective": "0-7",
        },
        {
            "proc/self/cgroup": "4:cpu,cpuset:/docker/1\n0::/docker/1",
            "sys/fs/cgroup/cpuset/docker/1/cpuset.effective_cpus": "0-1",
        },
        {"proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-1"},
    ],
)
def test_cpus_that_are_kept_free_are_not_used(files: dict[str, str], tmp_path: Path) -> None:
    machine = made(tmp_path / "a", 0, 0, 0, 0, online="0-7", tx=("0",) * 4, files=files)
    assert machine.reserved == set(range(2, 8))
    planned = writes(diagnose(machine))
    assert {planned[f"irq/{irq}"] for irq in (51, 52, 53) if f"irq/{irq}" in planned} == {"1"}
    assert {mask for path, mask in planned.items() if "xps" in path} == {"1", "2"}
    one_queue = diagnose(made(tmp_path / "b", 0, online="0-7", files=files))
    assert writes(one_queue) == {"rx-0/rps_cpus": "3"}


# Bug: a kernel without nohz_full says "(null)", and reading it fails.
def test_no_cpus_are_isolated(tmp_path: Path) -> None:
    files = {
        "sys/devices/system/cpu/isolated": "",
        "sys/devices/system/cpu/nohz_full": "(null)",
    }
    machine = made(tmp_path, 0, 1, 2, 3, files=files)
    assert machine.housekeeping == (0, 1, 2, 3)


# Bug: what an operator put on isolated CPUs on purpose is taken away from them.
def test_settings_that_use_isolated_cpus_stay(tmp_path: Path) -> None:
    pinned = diagnose(made(tmp_path / "a", 2, 3, 4, 5, tx=("4", "8", "10", "20"), **ISOLATED))
    assert (pinned.bad, pinned.changes) == ((), ())
    rps = diagnose(made(tmp_path / "b", 0, 1, rx=("fc", "fc"), **ISOLATED))
    assert level(rps, "RPS") is Level.OK
    assert rps.changes == ()


# Bug: traffic that RSS keeps off the queues of isolated CPUs is sent there.
def test_rss_keeps_off_isolated_cpus(tmp_path: Path) -> None:
    table = {"indirection": [index % 2 for index in range(128)]}
    machine = made(tmp_path / "a", 0, 1, 2, 3, link=table, **ISOLATED)
    diagnosis = diagnose(machine)
    assert what(diagnosis, "RSS table").startswith("even over 2 queues; queues 2-3 get nothing")
    assert diagnosis.changes == ()
    skewed = {"indirection": [0] * 96 + [1] * 32}
    diagnosis = diagnose(made(tmp_path / "b", 0, 1, 2, 3, link=skewed, **ISOLATED))
    (change,) = diagnosis.changes
    assert isinstance(change, TableChange)
    assert change.queues == 2
    unnamed = [(f"gve-ntfy-blk{n}", str(n)) for n in range(4)]
    text = card(unnamed, rx=("0",) * 4, link=table, **ISOLATED)
    (tmp_path / "c").mkdir()
    doubt = diagnose(facts.read(tmp_path / "c", trees.unpack_text(text, tmp_path / "c")))
    assert "eth0 RSS table" in {one.source for one in doubt.unread}
    assert doubt.changes == ()


# --- queue by queue --------------------------------------------------------------------------


# Bugs: queues that are right are moved with those that are wrong; with more queues than CPUs none
# is moved, or all.
def test_only_the_queues_that_are_wrong_are_moved(tmp_path: Path) -> None:
    assert writes(diagnose(made(tmp_path / "a", 3, 3, 0, 1))) == {"irq/51": "2"}
    even = diagnose(made(tmp_path / "b", 0, 1, 2, 3, 0, 1, 2, 3))
    assert what(even, "interrupts") == "8 RX queues on CPUs 0-3, up to 2 on one"
    assert even.changes == ()
    crowded = diagnose(made(tmp_path / "c", 0, 0, 1, 1, 2))
    assert writes(crowded) == {"irq/53": "3"}


# Bugs: a mask of the interrupt's own CPU passes for spreading, or for moving packets away.
def test_rps_to_the_cpu_where_packets_arrive(tmp_path: Path) -> None:
    one = diagnose(made(tmp_path / "a", 1, rx=("2",)))
    assert level(one, "RPS") is Level.COSTS
    assert what(one, "RPS").startswith("set to CPU 1, where the packets arrive anyway")
    assert writes(one) == {"rx-0/rps_cpus": "f"}
    each = diagnose(made(tmp_path / "b", 0, 1, 2, 3, rx=("1", "2", "4", "8")))
    assert level(each, "RPS") is Level.OK
    assert "no packet is moved" in what(each, "RPS")
    two = diagnose(made(tmp_path / "c", 0, 1, rx=("1", "2")))
    assert level(two, "RPS") is Level.OK


# Bug: a mask of CPUs that are all offline passes for spreading; RX CPUs are those of the mask.
def test_rps_to_cpus_that_are_offline(tmp_path: Path) -> None:
    machine = made(tmp_path / "a", 1, rx=("f0",))
    diagnosis = diagnose(machine)
    assert level(diagnosis, "RPS") is Level.COSTS
    assert what(diagnosis, "RPS").startswith("set to CPUs 4-7 alone, offline")
    assert check_groups.rx_cpus(machine) == (1,)
    machine = made(tmp_path / "b", 0, 1, rx=("f0", "0"))
    diagnosis = diagnose(machine)
    assert level(diagnosis, "RPS") is Level.MAY
    assert diagnosis.changes == ()
    assert check_groups.rx_cpus(machine) == (0, 1)
    # What the hash gives to an offline CPU stays where it arrived.
    assert check_groups.rx_cpus(made(tmp_path / "c", 0, 1, rx=("14", "0"))) == (0, 1, 2)


# Bug: of masks that move packets where every CPU has a queue, those that move nothing are cleared.
def test_rps_masks_are_cleared_one_by_one(tmp_path: Path) -> None:
    diagnosis = diagnose(made(tmp_path, 0, 1, 2, 3, rx=("1", "f", "0", "4")))
    assert level(diagnosis, "RPS") is Level.COSTS
    assert writes(diagnosis) == {"rx-1/rps_cpus": "0", "rx-3/rps_cpus": "0"}


# Bugs: an XPS mask that is right is rewritten with the wrong ones; masks of every CPU on every
# queue, which choose nothing, pass for a choice.
def test_xps_masks_are_changed_one_by_one(tmp_path: Path) -> None:
    diagnosis = diagnose(made(tmp_path / "a", 0, 1, 2, 3, tx=("1", "2", "8", "4")))
    assert writes(diagnosis) == {"tx-2/xps_cpus": "4", "tx-3/xps_cpus": "8"}
    diagnosis = diagnose(made(tmp_path / "b", 0, 1, tx=("f", "f")))
    assert what(diagnosis, "XPS") == "used by CPUs that have a queue of their own: queues 0-1"
    assert writes(diagnosis) == {"tx-0/xps_cpus": "5", "tx-1/xps_cpus": "a"}
    wide = diagnose(made(tmp_path / "c", 0, 1, tx=("5", "a")))
    assert level(wide, "XPS") is Level.OK
    shared = diagnose(made(tmp_path / "d", 0, 1, 0, 1, online="0-1", tx=("1", "2", "0", "0")))
    assert level(shared, "XPS") is Level.OK


# Bug: where TX interrupts are not known, XPS follows those of the RX queues of the same number.
def test_xps_wants_the_tx_interrupts(tmp_path: Path) -> None:
    names = [(f"eth0-rx-{queue}", str(queue)) for queue in range(2)]
    text = card(names, rx=("0", "0"), tx=("2", "1"), online="0-1")
    diagnosis = diagnose(facts.read(tmp_path, trees.unpack_text(text, tmp_path)))
    assert [one.source for one in diagnosis.unread] == ["eth0 XPS"]
    assert diagnosis.changes == ()


# Bug: one interrupt for all queues passes for queues that spread packets.
def test_one_interrupt_for_all_queues(tmp_path: Path) -> None:
    names = [("virtio0-config", "0"), ("virtio0-virtqueues", "2")]
    text = card(names, rx=("0",) * 4, tx=("0",) * 4)
    diagnosis = diagnose(facts.read(tmp_path, trees.unpack_text(text, tmp_path)))
    assert what(diagnosis, "interrupts").startswith("4 RX queues have one interrupt")
    assert level(diagnosis, "RPS") is Level.COSTS
    masks = {path: mask for path, mask in writes(diagnosis).items() if "rps" in path}
    assert masks == {f"rx-{queue}/rps_cpus": "f" for queue in range(4)}


# Bug: "all packets are processed on CPU one CPU", where nobody tells on which.
@pytest.mark.parametrize("name", [None, *trees.names()])
def test_a_cpu_that_is_not_known_has_no_number(tmp_path: Path, name: str | None) -> None:
    unnamed = card([], rx=("0",), tx=("0",))
    links = trees.unpack(name, tmp_path) if name else trees.unpack_text(unnamed, tmp_path)
    said = " ".join(lines(diagnose(facts.read(tmp_path, links))))
    assert not re.search(r"\bCPUs? (one|CPU|None|;|,|$)", said)
    assert name or "all packets are processed on one CPU" in " ".join(said.split())


# --- nodes -----------------------------------------------------------------------------------


# Bug: a node of memory alone passes for a device's node, from which every worker is far.
def test_a_node_without_cpus(tmp_path: Path) -> None:
    files = {
        "sys/devices/system/node/node0/cpulist": "0-3",
        "sys/devices/system/node/node1/cpulist": "",
        "sys/class/net/eth0/device/numa_node": "1",
    }
    diagnosis = diagnose(made(tmp_path, 0, 1, 2, 3, files=files))
    assert what(diagnosis, "node") == "the device is on node 1, which has no CPUs"
    assert (diagnosis.bad, diagnosis.changes) == ((), ())


# --- stacked devices -------------------------------------------------------------------------


def stacked(
    root: Path, kind: str, mask: str, only: str | None = None, *, files: dict[str, str]
) -> Machine:
    """A card of one queue, on CPU 0, with a device above it."""
    text = card([("eth0-TxRx-0", "0")], files=files)
    text = text.replace(
        '{"eth0": {"index": 2}}',
        f'{{"eth0": {{"index": 2}}, "up0": {{"index": 9, "kind": "{kind}"}}}}',
    )
    text += "\n= sys/class/net/up0/ifindex\n9\n= sys/class/net/up0/operstate\nup"
    text += f"\n= sys/class/net/up0/queues/rx-0/rps_cpus\n{mask}"
    text += "\n= sys/class/net/up0/queues/rx-0/rps_flow_cnt\n0"
    return facts.read(root, trees.unpack_text(text, root), only)


# Bugs: a mask that does nothing is set, or praised, or counted among the RX CPUs; the one that
# counts is not named.
@pytest.mark.parametrize("kind", ["macvlan", "vlan", "bond", "team", "ipvlan", "vrf"])
@pytest.mark.parametrize("below", ["lower", "iflink"])
def test_the_rps_of_the_device_below_counts(kind: str, below: str, tmp_path: Path) -> None:
    link = {"sys/class/net/up0/iflink": "2"}
    if below == "lower":
        link = {"sys/class/net/up0/lower_eth0/ifindex": "2"}
    for place, (mask, only, words) in enumerate(
        [
            ("2", None, "set (CPU 1), and does nothing: the RPS of eth0 counts"),
            ("2", "up0", "set (CPU 1), and does nothing: the RPS of eth0 counts"),
            ("0", "up0", "off: the RPS of eth0 counts"),
        ]
    ):
        root = tmp_path / str(place)
        root.mkdir()
        machine = stacked(root, kind, mask, only, files=link)
        diagnosis = diagnose(machine)
        (finding,) = (one for one in diagnosis.findings if one.subject == "up0 RPS")
        assert finding.what.startswith(words)
        assert finding.changes == ()
        # The card below is looked at too, and its mask is the one to set.
        assert writes(diagnosis) == {"rx-0/rps_cpus": "f"}
        assert diagnosis.changes[0].command.endswith("/eth0/queues/rx-0/rps_cpus")
        assert check_groups.rx_cpus(machine) == (0,)


# Bug: the RPS of a device in another network namespace is taken for one's own.
def test_the_device_below_may_be_elsewhere(tmp_path: Path) -> None:
    machine = stacked(tmp_path, "macvlan", "2", "up0", files={"sys/class/net/up0/iflink": "77"})
    (finding,) = (one for one in diagnose(machine).findings if one.subject == "up0 RPS")
    assert "the RPS of device 77 of another network namespace counts" in finding.what


# Bug: a bridge, which receives what is for this host once more, is taken for the same.
def test_the_rps_of_a_bridge_counts_too(tmp_path: Path) -> None:
    files = {"sys/class/net/up0/lower_eth0/ifindex": "2"}
    machine = stacked(tmp_path, "bridge", "2", "up0", files=files)
    (finding,) = (one for one in diagnose(machine).findings if one.subject == "up0 RPS")
    assert finding.what == "moves packets for this host to CPU 1, after the RPS of eth0"
