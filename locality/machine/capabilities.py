"""The capabilities that commands need, and those that this process has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Number (include/uapi/linux/capability.h), name, and what it is used for.
CAPABILITIES = (
    (39, "CAP_BPF", "load probes"),
    (38, "CAP_PERFMON", "attach probes, read kernel memory"),
    (19, "CAP_SYS_PTRACE", "reach another process's socket"),
    (2, "CAP_DAC_READ_SEARCH", "see which sockets processes of other users hold"),
    (34, "CAP_SYSLOG", "see the addresses of kernel functions (skb)"),
    (21, "CAP_SYS_ADMIN", "namespaces (demo); tracefs; counts of --spill; BPF before 5.8"),
    (12, "CAP_NET_ADMIN", "links and addresses (demo); XDP programs (spread)"),
    (1, "CAP_DAC_OVERRIDE", "write into directories of other users"),
)
NUMBERS = {name: number for number, name, _ in CAPABILITIES}
PURPOSES = {name: purpose for _, name, purpose in CAPABILITIES}

#: What BPF takes. CAP_SYS_ADMIN is as good as both, and before Linux 5.8 the only one there is.
PROBES = ("CAP_BPF", "CAP_PERFMON")
_GROUPS = (*PROBES, "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")

#: What each command needs to see everything. Without the last two, a command that looks at groups
#: sees less: not the sockets that it cannot duplicate, or whose holders it cannot find.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "top": PROBES,
    "cost": PROBES,
    "accept": PROBES,
    "connections": PROBES,
    "skb": (*PROBES, "CAP_SYSLOG"),
    "udp": _GROUPS,
    "groups": _GROUPS,
    "explain": _GROUPS,
    "doctor": _GROUPS,
    # Its findings need what `doctor` needs, and are fewer without that.
    "exporter": (*PROBES, "CAP_SYSLOG"),
    "attach-cbpf": _GROUPS,
    "attach --spill": _GROUPS,
    "trial": _GROUPS,
    # The table and the counters of a program that another process attached: BPF_PROG_GET_FD_BY_ID.
    "see --spill": ("CAP_SYS_ADMIN", *_GROUPS[2:]),
    "spread": (*PROBES, "CAP_NET_ADMIN"),
}


def held(status: Path = Path("/proc/self/status")) -> dict[str, bool]:
    """Each capability of `CAPABILITIES` by name, and whether it is effective."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    mask = int(line.split()[1], 16)
    return {name: bool(mask >> number & 1) for number, name, _ in CAPABILITIES}


def lacking(command: str, has: Mapping[str, bool]) -> list[str]:
    """What a command needs and a process does not have.

    Args:
        command: A name of `NEEDS`.
        has: As `held` tells.
    """
    granted = PROBES if has["CAP_SYS_ADMIN"] else ()
    return [name for name in NEEDS[command] if not has[name] and name not in granted]


def missing_for_probes() -> list[str]:
    """What this process lacks to load and attach probes."""
    return lacking("accept", held())
