"""What /proc/interrupts says of a network card's queues."""

from __future__ import annotations

from tests.vm.guest_nic import interrupt_table

# Of a guest with two CPUs; the last lines are no devices.
INTERRUPTS = """\
            CPU0       CPU1
  1:          0          9   IO-APIC   1-edge      i8042
  9:          0          0   IO-APIC   9-fasteoi   acpi
 43:       1200          0  PCI-MSIX-0000:00:0b.0   1-edge      virtio9-input.0
 44:          1          0  PCI-MSIX-0000:00:0b.0   2-edge      virtio9-output.0
 45:          3       1417  PCI-MSIX-0000:00:0b.0   3-edge      virtio9-input.1
NMI:          0          0   Non-maskable interrupts
LOC:      11172      11086   Local timer interrupts
ERR:          0
"""


# Bugs: a queue's count is another queue's, or another CPU's; a line that is no device's, or
# has fewer columns, ends it all.
def test_each_queue_has_its_number_and_its_counts() -> None:
    table = interrupt_table(INTERRUPTS)
    assert table["virtio9-input.0"] == (43, (1200, 0))
    assert table["virtio9-input.1"] == (45, (3, 1417))
    assert set(table) == {"i8042", "acpi", "virtio9-input.0", "virtio9-output.0", "virtio9-input.1"}
