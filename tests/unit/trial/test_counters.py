"""The kernel's counters that a block of a trial reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from locality.trial.counters import Counters, Reading

if TYPE_CHECKING:
    from pathlib import Path

NETSTAT = """\
TcpExt: SyncookiesSent ListenOverflows ListenDrops
TcpExt: 7 3 5
IpExt: InNoRoutes InOctets OutOctets
IpExt: 0 1000 234
"""
SNMP = """\
Ip: Forwarding InReceives OutRequests
Ip: 1 40 30
Tcp: RtoAlgorithm InSegs
Tcp: 1 99
"""
INTERRUPTS = """\
            CPU0       CPU1
   0:         10          0   IO-APIC   2-edge      timer
 LOC:       9000       8000   Local timer interrupts
 RES:        100        200   Rescheduling interrupts
 CAL:          1          2   Function call interrupts
 TLB:         50         50   TLB shootdowns
"""


def a_proc(root: Path, pid: int) -> Path:
    network = root / str(pid) / "net"
    network.mkdir(parents=True)
    (root / "net").mkdir()
    (network / "netstat").write_text(NETSTAT)
    (network / "snmp").write_text(SNMP)
    (network / "snmp6").write_text("Ip6InReceives \t5\nIp6InOctets\t66\n")
    (root / "stat").write_text("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    (root / "interrupts").write_text(INTERRUPTS)
    (root / "net/softnet_stat").write_text("0000000a 00000002 0\n0000000b 0000000f 0\n")
    return root


# Bugs: a column beside the one that is meant; the interrupts of a device or of the timer counted;
# the namespace of another process; IPv6 left out, or counted twice.
def test_each_counter_is_the_one_that_is_meant(tmp_path: Path) -> None:
    reading = Counters((os.getpid(),), a_proc(tmp_path, os.getpid())).read()
    assert reading.softirq == 7 * 10**9 // os.sysconf("SC_CLK_TCK")
    assert reading.packets == 40 + 30 + 5
    assert reading.bytes == 1000 + 234 + 66
    assert reading.overflows == 3
    assert reading.drops == 2 + 15 + (5 - 3)
    assert reading.ipis == 303
    assert reading.cpu is not None


# Bug: a counter that cannot be read becomes 0, and a server that restarted gives a negative time.
def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    unread = Counters((1 << 22,), tmp_path).read()
    assert (unread.cpu, unread.softirq, unread.packets, unread.drops) == (None,) * 4
    first = Reading(10, 5, 5, 5, 5, 5, None, 5)
    later = Reading(20, 4, 6, 5, 9, 5, 5, 5)
    assert later.since(first) == Reading(10, None, 1, 0, 4, 0, None, 0)
