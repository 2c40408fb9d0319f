"""Counters of the kernel that a block is judged by, read at its beginning and at its end.

Sources: /proc/stat (softirq, in hundredths of a second), /proc/interrupts (interprocessor
interrupts), /proc/net/softnet_stat (packets that a CPU's backlog had no room for), and, of the
server's network namespace, /proc/PID/net/{snmp,netstat,snmp6}: packets and bytes, and connections
that an accept queue had no room for.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from locality.trial.cpu_time import cpu_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROC = Path("/proc")

#: Rescheduling and function calls, on x86; any interprocessor interrupt, on arm64.
_IPIS = re.compile(r"^ *(?:RES|CAL|IPI\d+):((?: +\d+)+)", re.MULTILINE)
_SOFTIRQ = 7
"""The column of /proc/stat."""
_DROPPED = 1
"""The column of softnet_stat."""
_PACKETS = ("Ip.InReceives", "Ip.OutRequests", "Ip6InReceives", "Ip6OutRequests")
_BYTES = ("IpExt.InOctets", "IpExt.OutOctets", "Ip6InOctets", "Ip6OutOctets")
#: Every connection that an accept queue had no room for is among the second, too.
OVERFLOWS, REFUSED = "TcpExt.ListenOverflows", "TcpExt.ListenDrops"


@dataclass(frozen=True)
class Reading:
    """Counters at one moment; None where one cannot be read.

    Attributes:
        time: CLOCK_MONOTONIC, ns.
        cpu: ns on a CPU, of the server's threads.
        softirq: ns in softirqs, of all CPUs.
        packets: IP packets sent and received in the server's network namespace.
        bytes: The same in bytes.
        overflows: Connections that an accept queue had no room for, in that namespace.
        drops: Packets that the backlog of a CPU had no room for, and SYNs that were refused for
            another reason than a full accept queue.
        ipis: Interprocessor interrupts of the machine.
    """

    time: int
    cpu: int | None
    softirq: int | None
    packets: int | None
    bytes: int | None
    overflows: int | None
    drops: int | None
    ipis: int | None

    def since(self, earlier: Reading) -> Reading:
        """What was counted between two readings; None where it is not known, or went back."""
        differences: dict[str, Any] = {}
        for field in fields(self):
            now, before = getattr(self, field.name), getattr(earlier, field.name)
            known = now is not None and before is not None and now >= before
            differences[field.name] = now - before if known else None
        return Reading(**differences)


class Refusals(NamedTuple):
    """What was not let in, since the machine or the namespace began; see `Reading`."""

    overflows: int | None
    drops: int | None


@dataclass(frozen=True)
class Counters:
    """Reads counters.

    Args:
        pids: The server's processes; the first that is still there tells the network namespace.
        proc: Where /proc is; another directory in tests.
    """

    pids: tuple[int, ...]
    proc: Path = PROC

    def read(self) -> Reading:
        """All of them now."""
        network = self._network()
        refusals = self.refusals(network)
        return Reading(
            time=time.clock_gettime_ns(time.CLOCK_MONOTONIC),
            cpu=cpu_time(self.pids) if self.pids else None,
            softirq=_softirq(_text(self.proc / "stat")),
            packets=_sum(network, _PACKETS),
            bytes=_sum(network, _BYTES),
            overflows=refusals.overflows,
            drops=refusals.drops,
            ipis=_ipis(_text(self.proc / "interrupts")),
        )

    def refusals(self, network: Mapping[str, int] | None = None) -> Refusals:
        """What was not let in; cheaper than all."""
        network = self._network() if network is None else network
        overflows, refused = network.get(OVERFLOWS), network.get(REFUSED)
        dropped = _dropped(_text(self.proc / "net/softnet_stat"))
        if dropped is not None and overflows is not None and refused is not None:
            dropped += max(0, refused - overflows)
        return Refusals(overflows, dropped)

    def _network(self) -> dict[str, int]:
        """Counters of the server's network namespace, such as ``TcpExt.ListenDrops``."""
        for pid in self.pids or (os.getpid(),):
            directory = self.proc / str(pid) / "net"
            if text := _text(directory / "netstat"):
                flat = _text(directory / "snmp6")
                return _titled(text) | _titled(_text(directory / "snmp")) | _pairs(flat)
        return {}


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


def _titled(text: str) -> dict[str, int]:
    """Counters of pairs of lines, names above values: of netstat and snmp."""
    lines = text.splitlines()
    found = {}
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        title, _, rest = names.partition(":")
        for name, value in zip(rest.split(), values.partition(":")[2].split(), strict=False):
            found[f"{title}.{name}"] = int(value)
    return found


def _pairs(text: str) -> dict[str, int]:
    """Counters of lines of a name and a value: of snmp6."""
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))


def _sum(counters: Mapping[str, int], names: Iterable[str]) -> int | None:
    known = [counters[name] for name in names if name in counters]
    return sum(known) if known else None


def _softirq(stat: str) -> int | None:
    columns = stat.partition("\n")[0].split()
    if len(columns) <= _SOFTIRQ or columns[0] != "cpu":
        return None
    return int(columns[_SOFTIRQ]) * (10**9 // os.sysconf("SC_CLK_TCK"))


def _ipis(interrupts: str) -> int | None:
    found = [sum(map(int, counts.split())) for counts in _IPIS.findall(interrupts)]
    return sum(found) if found else None


def _dropped(softnet: str) -> int | None:
    rows = [line.split() for line in softnet.splitlines()]
    return sum(int(row[_DROPPED], 16) for row in rows) if rows else None
