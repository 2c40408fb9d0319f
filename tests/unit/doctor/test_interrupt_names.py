"""Which queues an interrupt serves, by the names that drivers give, and where that is in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.doctor import facts
from locality.doctor.checklist import diagnose
from locality.doctor.interrupt_names import assign, owner
from tests.trees import trees
from tests.trees.made import card

if TYPE_CHECKING:
    from pathlib import Path

PCI = "@pci:0000:03:00.0"


def numbered(form: str, numbers: range) -> list[str]:
    """Names of one form, with these numbers for the star."""
    return [form.replace("*", str(number)) for number in numbers]


# Interrupts of real drivers with two queues in each direction: those of RX queues 0 and 1, those
# of TX queues 0 and 1, and the card's others. Forms from request_irq of drivers/net.
DRIVERS = {
    "virtio": (
        numbered("virtio0-input.*", range(2)),
        numbered("virtio0-output.*", range(2)),
        ["virtio0-config", "virtio0-control"],
    ),
    "igb": (numbered("eth0-TxRx-*", range(2)), None, ["eth0"]),
    "igb, vectors apart": (
        numbered("eth0-rx-*", range(2)),
        numbered("eth0-tx-*", range(2)),
        ["eth0", "eth0-unused"],
    ),
    "i40e": (
        numbered("i40e-eth0-TxRx-*", range(2)),
        None,
        ["i40e-0000:3b:00.0:misc", "i40e-0000:3b:00.0:fdir-TxRx-0"],
    ),
    "ice": (
        numbered("ice-eth0-TxRx-*", range(2)),
        None,
        ["ice-0000:3b:00.0:misc", "irdma-0000:3b:00.0-AEQ", "irdma-0000:3b:00.0-CEQ-0"],
    ),
    "iavf": (numbered("iavf-eth0-TxRx-*", range(2)), None, ["iavf-0000:3b:02.0:mbx"]),
    "idpf": (numbered("idpf-eth0-TxRx-*", range(2)), None, ["idpf-Mailbox-0"]),
    "mlx5": (
        numbered(f"mlx5_comp*{PCI}", range(2)),
        None,
        [f"mlx5_async0{PCI}", f"mlx5_async{PCI}", f"mlx5_pages_eq{PCI}", f"mlx5_cmd_eq{PCI}"],
    ),
    "mlx4": (numbered("eth0-*", range(2)), None, [f"mlx4-async{PCI}", f"mlx4-comp-0{PCI}"]),
    "bnxt": (numbered("eth0-TxRx-*", range(2)), None, [f"bnxt_re-nq-0{PCI}"]),
    "bnx2x": (numbered("eth0-fp-*", range(2)), None, ["eth0"]),
    "tg3": (numbered("eth0-rx-*", range(1, 3)), ["eth0-tx-0", "eth0-tx-1"], []),
    "tg3 with TSS": (numbered("eth0-txrx-*", range(1, 3)), None, ["eth0-0"]),
    "be2net": (numbered("eth0-q*", range(2)), None, []),
    "ena": (numbered("eth0-Tx-Rx-*", range(2)), None, [f"ena-mgmnt{PCI}"]),
    "nfp": (numbered("eth0-rxtx-*", range(2)), None, ["eth0-lsc", "eth0-exn"]),
    "qede": (numbered("eth0-fp-*", range(2)), None, ["sp-0-03:00.00", "sp-1-03:00.00"]),
    "cxgb3": (numbered("eth0-*", range(2)), None, ["cxgb3"]),
    "enic": (
        numbered("eth0-rx-*", range(2)),
        numbered("eth0-tx-*", range(2)),
        ["eth0-err", "eth0-notify"],
    ),
    "enetc": (numbered("eth0-rxtx*", range(2)), None, []),
    "hns3": (
        numbered("hns3-0000:7d:00.0-TxRx-*", range(2)),
        None,
        ["hclge-misc-0000:7d:00.0"],
    ),
    "hns3 of old": (numbered("hns3-eth0-TxRx-*", range(2)), None, ["hclge-0000:7d:00.0-misc-0"]),
    "hinic3": (numbered("eth0_qp*", range(2)), None, ["hinic3_aeq0@pci:0000:03:00.0"]),
    "stmmac": (
        numbered("eth0:rx-*", range(2)),
        numbered("eth0:tx-*", range(2)),
        ["eth0:mac", "eth0:lpi", "eth0:safety-ce", "eth0:wol"],
    ),
    "thunderx": (
        numbered("eth0-rxtx-*", range(2)),
        None,
        ["eth0-rbdr-0", "eth0-rbdr-1", "eth0-qset-err-0"],
    ),
    "octeontx2": (numbered("eth0-rxtx-*", range(2)), None, ["RVUPF2 Mbox", "eth0-qerr-0"]),
    "vmxnet3": (
        numbered("eth0-rx-*", range(2, 4)),
        numbered("eth0-tx-*", range(2)),
        ["eth0-event-4"],
    ),
    "sfc": (numbered("eth0-*", range(2)), None, ["eth0-xdp-0", "eth0-xdp-1", "eth0-ptp"]),
    "mana": (numbered(f"mana_q*{PCI}", range(2)), None, [f"mana_hwc{PCI}"]),
    "ionic": (numbered("ionic-eth0-L0-rx*", range(2)), None, ["ionic-0000:b5:00.0-L0-admin"]),
    "alx": (numbered("eth0-TxR-*", range(2)), None, ["eth0"]),
    "liquidio": (numbered("LiquidIO0-pf0-rxtx-*", range(2)), None, ["LiquidIO0-pf0-aux"]),
    "xen": (numbered("eth0-q*-rx", range(2)), numbered("eth0-q*-tx", range(2)), []),
    "xen, one channel": (numbered("eth0-q*", range(2)), None, []),
    # Renamed after its driver had named the interrupts.
    "renamed": (numbered("rename3-TxRx-*", range(2)), None, ["rename3"]),
    "without an action": (numbered("eth0-TxRx-*", range(2)), None, ["", ""]),
    "shared line": (numbered("eth0-TxRx-*", range(2)), None, ["ehci_hcd:usb1, uhci_hcd:usb6"]),
}


# Bugs: for the way that one driver names its interrupts, a queue's is missed, or one of the card's
# others (errors, buffers, firmware, RDMA, flow director) is taken for a queue's.
@pytest.mark.parametrize("driver", DRIVERS)
def test_each_drivers_interrupts(driver: str) -> None:
    rx, tx, others = DRIVERS[driver]
    names = dict(enumerate([*others, *rx, *(tx or ())], 20))
    by_name = {name: number for number, name in names.items() if name}
    told = assign(names, "eth0", ["eth0", "eth1"], rx=2, tx=2)
    assert told.doubt == ""
    assert told.rx == {by_name[name]: (queue,) for queue, name in enumerate(rx)}
    if driver not in {"tg3 with TSS", "ionic"}:
        assert told.tx == {by_name[name]: (queue,) for queue, name in enumerate(tx or rx)}


# Names that leave a doubt, of a device with four RX queues.
DOUBTFUL = {
    "gve": [*numbered(f"gve-ntfy-blk*{PCI}", range(8)), f"gve-mgmnt{PCI}"],
    "gve of old": [*numbered("eth0-ntfy-block.*", range(8)), "eth0-mgmnt"],
    "two with one number": [*numbered("eth0-TxRx-*", range(3)), "eth0-TxRx-2"],
    "combined and apart": ["eth0-TxRx-0", "eth0-TxRx-1", "eth0-rx-0", "eth0-rx-1"],
    "fewer than queues": numbered("i40e-eth0-TxRx-*", range(2)),
    "more than queues": numbered(f"mlx5_comp*{PCI}", range(8)),
    "a gap": ["eth0-TxRx-0", "eth0-TxRx-1", "eth0-TxRx-3", "eth0-TxRx-4"],
    "two devices": ["ens1-TxRx-0", "ens1-TxRx-1", "ens2-TxRx-2", "ens2-TxRx-3"],
    "all of one name (atlantic, mvpp2, macb)": ["eth0"] * 4,
    "no names": [""] * 4,
    "numbers of another thing": numbered(f"mlx4-*{PCI}", range(1, 5)),
    "errors of four queues": numbered("eth0-qset-err-*", range(4)),
    "another device's": numbered("eth1-TxRx-*", range(4)),
    "none": [],
    "one for all, of a device that has more": ["eth0"],
}


# Bug: where names tell nothing certain, queues are numbered all the same.
@pytest.mark.parametrize("case", DOUBTFUL)
def test_doubt_assigns_nothing(case: str) -> None:
    told = assign(dict(enumerate(DOUBTFUL[case], 20)), "eth0", ["eth0", "eth1"], rx=4, tx=4)
    assert told.doubt
    assert (told.rx, told.tx) == ({}, {})


# Bug: a doubt about interrupts stops at the interrupts, and masks are derived from a guess.
@pytest.mark.parametrize("case", [case for case in DOUBTFUL if case != "another device's"])
@pytest.mark.parametrize("masks", [("1", "4", "2", "8"), ("0",) * 4, ("f",) * 4])
def test_doubt_changes_nothing(case: str, masks: tuple[str, ...], tmp_path: Path) -> None:
    interrupts = [(name, str(place % 4)) for place, name in enumerate(DOUBTFUL[case])]
    text = card(interrupts, rx=masks, tx=masks)
    diagnosis = diagnose(facts.read(tmp_path, trees.unpack_text(text, tmp_path)))
    assert diagnosis.changes == ()
    assert "eth0 interrupts" in {one.source for one in diagnosis.unread}
    assert not [one for one in diagnosis.findings if one.subject.startswith("eth0 XPS")]


# Bugs: a virtio card with fewer queues in use than it has virtqueues is in doubt, or the unused
# ones count; one vector for all virtqueues is no queue's.
def test_virtqueues_have_their_own_numbers() -> None:
    names = dict(enumerate(numbered("virtio0-input.*", range(4)), 20))
    told = assign(names, "eth0", ["eth0"], rx=2, tx=2)
    assert told.rx == {20: (0,), 21: (1,)}
    told = assign({20: "virtio0-config", 21: "virtio0-virtqueues"}, "eth0", [], rx=2, tx=2)
    assert (told.rx, told.tx) == ({21: (0, 1)}, {21: (0, 1)})


# Bug: a card with a single interrupt, which serves all that it has, is in doubt.
@pytest.mark.parametrize("name", ["eth0", "ehci_hcd:usb1, eth0", "enp4s0", "iwlwifi"])
def test_a_single_interrupt_serves_the_single_queue(name: str) -> None:
    told = assign({20: name}, "eth0", ["eth0", "eth1"], rx=1, tx=1)
    assert (told.rx, told.tx, told.doubt) == ({20: (0,)}, {20: (0,)}, "")


# Bugs: of names that begin alike the shorter one owns the interrupts of the longer.
def test_names_that_begin_alike() -> None:
    links = ["eth1", "eth10", "lan", "lan-0", "eth1.100"]
    assert owner("eth10-TxRx-1", links) == "eth10"
    assert owner("lan-0-TxRx-1", links) == "lan-0"
    assert owner("lan-1", links) == "lan"
    assert owner("eth100-0", links) is None
    assert owner("eth1_qp0", links) == "eth1"


# Bug: a device called like something that is no queue has no queues.
@pytest.mark.parametrize("device", ["mgmt0", "control", "ptp0", "err0", "xdp-0"])
def test_a_device_may_have_any_name(device: str) -> None:
    names = dict(enumerate(numbered(f"{device}-TxRx-*", range(2)), 20))
    assert assign(names, device, [device], rx=2, tx=2).rx == {20: (0,), 21: (1,)}


# Bug: the kernel's own answer is asked last, or is believed where it is not whole.
def test_the_netdev_family_is_asked_first(tmp_path: Path) -> None:
    names = [*numbered(f"gve-ntfy-blk*{PCI}", range(4)), f"gve-mgmnt{PCI}"]
    interrupts = list(zip(names, "01010", strict=True))
    for rx_irqs, known in (([52, 53], True), ([52, None], False), ([52], False)):
        told = {"rx_irqs": rx_irqs, "tx_irqs": [50, 51]}
        text = card(interrupts, rx=("0", "0"), tx=("1", "2"), online="0-1", link=told)
        root = tmp_path / str(len(str(rx_irqs)))
        root.mkdir()
        machine = facts.read(root, trees.unpack_text(text, root))
        (eth0,) = machine.devices
        assert bool(eth0.doubt) is not known
        if known:
            assert eth0.told_by == "netdev family (netlink)"
            assert [(one.number, one.rx) for one in eth0.rx_interrupts] == [(52, (0,)), (53, (1,))]
            interrupts_finding, xps = (
                next(one for one in diagnose(machine).findings if one.subject == f"eth0 {part}")
                for part in ("interrupts", "XPS")
            )
            assert interrupts_finding.what == "each RX queue on a CPU of its own: 0-1"
            assert interrupts_finding.read[0].source == "netdev family (netlink)"
            assert xps.what == "each CPU sends on the queue it serves"


# Bug: without device/msi_irqs the interrupts of another device are taken.
def test_interrupts_without_msi_are_known_by_the_device(tmp_path: Path) -> None:
    names = [*numbered("eth0-TxRx-*", range(2)), *numbered("eth01-TxRx-*", range(2)), "nvme0q1"]
    text = card([(name, "0") for name in names], rx=("0", "0"), msi=False)
    (eth0,) = facts.read(tmp_path, trees.unpack_text(text, tmp_path)).devices
    assert [one.name for one in eth0.interrupts] == ["eth0-TxRx-0", "eth0-TxRx-1"]
    assert eth0.told_by == "names in /proc/interrupts"
