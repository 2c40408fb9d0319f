"""Reading machines: captured trees, drivers' names for interrupts, what cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.doctor import facts
from locality.doctor.interrupt_names import kind
from locality.doctor.interrupts import parse_interrupts
from locality.doctor.values import Files, Value
from locality.errors import LocalityError
from locality.machine.ethtool import Link
from tests.trees import trees

if TYPE_CHECKING:
    from pathlib import Path

    from locality.doctor.device import Device
    from locality.doctor.facts import Machine


def machine(name: str, root: Path) -> Machine:
    """A captured tree, read."""
    return facts.read(root, trees.unpack(name, root))


def device(name: str, root: Path, link: str) -> Device:
    """One device of a captured tree."""
    (found,) = (one for one in machine(name, root).devices if one.name == link)
    return found


# Bugs: a queue's interrupt is missed, or one of the card's others is taken for a queue's, for
# the way that one driver names them. Names as seen on real machines or given in drivers/net.
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("virtio2-input.1", (True, False, 1)),
        ("virtio2-output.1", (False, True, 1)),
        ("eth0-TxRx-7", (True, True, 7)),
        ("eth0-Tx-Rx-7", (True, True, 7)),
        ("i40e-eth0-TxRx-12", (True, True, 12)),
        ("ice-eth0-TxRx-126", (True, True, 126)),
        ("iavf-eth0-TxRx-3", (True, True, 3)),
        ("mlx5_comp3@pci:0000:01:00.0", (True, True, 3)),
        ("eth0-rxtx-2", (True, True, 2)),
        ("eth0-rx-1", (True, False, 1)),
        ("eth0-tx-0", (False, True, 0)),
        ("eth0-0", (True, True, 0)),
        ("eth0-q1-rx", (True, False, 1)),
    ],
)
def test_interrupts_of_queues_are_known_by_name(name: str, told: tuple[bool, bool, int]) -> None:
    assert kind(name, "eth0") == told


# Bug: an interrupt of a card's control channel or event queue counts as that of an RX queue.
@pytest.mark.parametrize(
    "name",
    [
        *("eth0", "virtio2-config", "virtio2-control", "ena-mgmnt@pci:0000:00:05.0"),
        *("mlx5_async0@pci:0000:01:00.0", "mlx5_cmd_eq@pci:0000:01:00.0", "eth0-event-4"),
        *("mlx5_pages_eq@pci:0000:01:00.0", "i40e-0000:3b:00.0:misc", "iavf-0000:3b:0b.0:mbx"),
        "eth0-fdir-TxRx-0",
    ],
)
def test_other_interrupts_serve_no_queue(name: str) -> None:
    assert kind(name, "eth0") is None


# Bug: a device whose name is part of another's takes that one's number for a queue.
def test_the_number_in_a_device_name_is_no_queue() -> None:
    assert kind("eth10-TxRx-3", "eth1") == (True, True, 3)
    assert kind("enp3s0f1", "enp3s0f1") is None


# Bugs: names with blanks, several users, non-numeric lines and CPUs that do not count from 0; the
# trigger of an interrupt that nobody has requested is taken for its name.
def test_interrupt_table() -> None:
    text = (
        "           CPU0       CPU2\n"
        "  9:          0          3   IO-APIC    9-fasteoi   acpi\n"
        " 18:          0          0   IO-APIC-fasteoi   ehci_hcd:usb1, uhci_hcd:usb6\n"
        " 67:          0          1  PCI-MSIX-0000:27:00.0   2-edge    \n"
        " 68:          0          1  IR-PCI-MSI 524288-edge    \n"
        " 69:          0          1  IR-PCI-MSI 524289-edge      eth0-TxRx-0\n"
        " 70:          0          1  ITS-MSI 524290 Edge    \n"
        " 71:          0          1  GICv3  41 Level     eth1\n"
        " 72:          0          1  xen-dyn    -event     eth0-q0-rx\n"
        "NMI:          1          1   Non-maskable interrupts\n"
        "ERR:          0\n"
    )
    assert parse_interrupts(text) == {
        9: "acpi",
        18: "ehci_hcd:usb1, uhci_hcd:usb6",
        67: "",
        68: "",
        69: "eth0-TxRx-0",
        70: "",
        71: "eth1",
        72: "eth0-q0-rx",
    }
    assert parse_interrupts("") == {}


# Bugs: ports of one card get each other's interrupts (mlx4), queues counted from 1 are shifted
# (tg3), the card's own comp interrupts pass for queues.
def test_two_ports_of_one_card_and_a_driver_that_counts_from_one(tmp_path: Path) -> None:
    eth6 = device("two-ports-mlx4", tmp_path, "eth6")
    assert [one.name for one in eth6.rx_interrupts] == [f"eth6-{queue}" for queue in range(8)]
    tg3 = device("two-ports-mlx4", tmp_path, "eth0")
    assert [one.name for one in tg3.rx_interrupts] == [f"eth0-rx-{n}" for n in range(1, 5)]
    assert [one.rx for one in tg3.rx_interrupts] == [(0,), (1,), (2,), (3,)]


# Bugs: nodes whose CPUs alternate; a mask read as a list.
def test_two_sockets(tmp_path: Path) -> None:
    found = machine("two-sockets-mlx4", tmp_path)
    assert found.online == tuple(range(12))
    assert found.nodes == {0: (0, 2, 4, 6, 8, 10), 1: (1, 3, 5, 7, 9, 11)}
    (eth2,) = found.devices
    assert eth2.node == Value("/sys/class/net/eth2/device/numa_node", "0\n")
    assert [one.cpus for one in eth2.rx_interrupts][:4] == [(0,), (2,), (4,), (6,)]


# Bug: a virtio device has neither interrupts nor a node of its own: its PCI device has.
def test_virtio_interrupts_are_its_carrier_s(tmp_path: Path) -> None:
    eth0 = device("virtio-one-queue", tmp_path, "eth0")
    assert eth0.real
    assert [one.name for one in eth0.interrupts] == [
        "virtio2-config",
        "virtio2-input.0",
        "virtio2-output.0",
    ]
    (rx,) = eth0.rx_interrupts
    assert (rx.name, rx.allowed and rx.allowed.cpu_list, rx.cpus) == (
        "virtio2-input.0",
        (0, 1),
        (1,),
    )
    assert eth0.xps == ()  # the kernel has none for a single queue


# Bug: what is missing where there is no card, or in a container, is taken for an error.
@pytest.mark.parametrize(("name", "links"), [("no-nic", ["lo"]), ("container", ["eth0", "lo"])])
def test_machines_without_a_card(name: str, links: list[str], tmp_path: Path) -> None:
    found = machine(name, tmp_path)
    assert [one.name for one in found.devices] == links
    assert not any(one.real or one.interrupts for one in found.devices)
    assert "rps_sock_flow_entries" not in found.sysctls  # not in this namespace
    assert found.counters["ListenOverflows"].content == "ListenOverflows 0"
    assert found.unread == ()


# Bug: rx-10 comes before rx-2, and every queue from there on has another's interrupt.
def test_queues_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    text = "= links\n" + '{"eth0": {"index": 2}}\n'
    text += "= sys/devices/system/cpu/online\n0-11\n= sys/class/net/eth0/ifindex\n2\n"
    for queue in range(12):
        text += f"= sys/class/net/eth0/queues/rx-{queue}/rps_cpus\n{queue:x}\n"
    (eth0,) = facts.read(tmp_path, trees.unpack_text(text, tmp_path)).devices
    assert [int(one.rps_cpus.text, 16) for one in eth0.rx if one.rps_cpus] == list(range(12))


# Bugs: what cannot be read is guessed, or ends the command.
def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    links = trees.unpack("virtio-one-queue", tmp_path)
    mask = tmp_path / "sys/class/net/eth0/queues/rx-0/rps_cpus"
    mask.unlink()
    mask.mkdir()  # reading fails, for root too
    found = facts.read(tmp_path, links)
    assert [(one.source, one.reason) for one in found.unread] == [
        ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "Is a directory")
    ]


# Bug: /sys of another network namespace is believed.
def test_devices_and_sysfs_of_two_namespaces(tmp_path: Path) -> None:
    links = trees.unpack("virtio-one-queue", tmp_path)
    with pytest.raises(LocalityError, match="another network namespace"):
        facts.read(tmp_path, {**links, "eth1": Link(9)})
    with pytest.raises(LocalityError, match="another network namespace"):
        facts.read(tmp_path, {**links, "eth0": Link(9)})
    with pytest.raises(LocalityError, match="no network device 'eth7' here: eth0"):
        facts.read(tmp_path, {"eth0": links["eth0"]}, "eth7")


# Bug: irqbalance is looked for by a name of 16 bytes, or in threads.
def test_irqbalance_is_seen(tmp_path: Path) -> None:
    links = trees.unpack("virtio-one-queue", tmp_path)
    for pid, comm in (("7", "systemd"), ("812", "irqbalance")):
        (tmp_path / f"proc/{pid}").mkdir()
        (tmp_path / f"proc/{pid}/comm").write_text(f"{comm}\n")
    assert facts.read(tmp_path, links).irqbalance == Value("/proc/812/comm", "irqbalance\n")


# Bug: bytes that are not ASCII, which a name may have, end the reading.
def test_any_bytes_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "comm").write_bytes(b"\xff\xfe\n")
    value = Files(tmp_path).read("/comm")
    assert value
    assert value.text == "��"
