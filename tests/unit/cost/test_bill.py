"""What the machine's files in /proc say of interrupts and softirqs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from locality.cost import bill
from locality.cost.bill import COUNTS, Bill, parse_interrupts, parse_softnet, parse_stat

if TYPE_CHECKING:
    from pathlib import Path

X86 = """\
           CPU0       CPU1
  0:          5          0   IO-APIC   2-edge      timer
 42:          0      34993 PCI-MSIX-0000:00:04.0   2-edge      virtio3-tx
RES:    5748549    5524305   Rescheduling interrupts
CAL:   13588219   13792752   Function call interrupts
TLB:     218115     176234   TLB shootdowns
ERR:          0
MIS:          0
"""
ARM64 = """\
           CPU0       CPU1       CPU2
 11:       1000       2000       3000     GICv3  30 Level     arch_timer
IPI0:        11         12         13       Rescheduling interrupts
IPI1:         1          2          3       Function call interrupts
IPI5:         0          0          0       IRQ work interrupts
Err:          0
"""
STAT = """\
cpu  10 0 20 300 0 0 7 0 0 0
cpu0 5 0 10 150 0 0 3 0 0 0
intr 5000 1 2 3
ctxt 99
softirq 8000 1 2 3 4500 6 7 8 9 10
"""
#: The tenth word of a line is received_rps; the number of words differs between kernels.
SOFTNET = """\
0987e8c9 00000000 00000032 00000000 00000000 00000000 00000000 00000000 00000000 0000000a 00000000
08fc33ec 00000000 00000033 00000000 00000000 00000000 00000000 00000000 00000000 00000001 00000000
"""


# Bugs: a count of a CPU is left out; the description is taken for a number; a device whose name
# begins like a line passes for it.
def test_interrupts_between_cpus() -> None:
    assert parse_interrupts(X86) == {
        "reschedulings": 5748549 + 5524305,
        "function_calls": 13588219 + 13792752,
        "tlb_flushes": 218115 + 176234,
    }
    assert parse_interrupts(ARM64) == {"reschedulings": 36, "function_calls": 6}
    assert parse_interrupts("") == {}


# Bug: a word of these files is taken for its neighbour.
def test_softirqs() -> None:
    told = parse_stat(STAT)
    assert (told["interrupts"], told["softirqs"], told["net_rx"]) == (5000, 8000, 4500)
    assert told["softirq_ns"] == 7 * 10**9 // os.sysconf("SC_CLK_TCK")
    assert parse_softnet(SOFTNET) == {"rps": 11}


# Bug: a file that is missing or damaged ends the measurement, or counts as nothing.
def test_what_is_not_told_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(STAT)
    (tmp_path / "net").mkdir()
    (tmp_path / "net/softnet_stat").write_text("no numbers\n")
    told = bill.read(None, proc=tmp_path)
    assert told.interrupts == 5000
    assert (told.rps, told.reschedulings, told.causes) == (None, None, None)
    (tmp_path / "stat").write_text("cpu 1 2 3 4 5 6 7\n")  # a container may be shown no more
    assert bill.read(None, proc=tmp_path).interrupts is None


# Bugs: what is not known once is 0 in the difference; a CPU that goes offline gives a negative
# count; a cause that is new has no difference.
def test_differences_and_sums() -> None:
    one = Bill(interrupts=10, rps=5, causes={"a": 3})
    other = Bill(interrupts=12, softirqs=4, rps=2, causes={"a": 3, "b": 1})
    grown = other - one
    assert (grown.interrupts, grown.softirqs, grown.rps) == (2, None, 0)
    assert grown.causes == {"b": 1}
    both = one + other
    assert (both.interrupts, both.softirqs, both.causes) == (22, None, {"a": 6, "b": 1})
    assert (one + Bill()).causes is None
    assert len(COUNTS) == 10
