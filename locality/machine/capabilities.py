"""The capabilities this process holds, of those that one of the commands makes use of."""

from __future__ import annotations

from pathlib import Path

#: Number (include/uapi/linux/capability.h), name, and what it is used for.
CAPABILITIES = (
    (39, "CAP_BPF", "load probes"),
    (38, "CAP_PERFMON", "attach probes, read kernel memory"),
    (19, "CAP_SYS_PTRACE", "reach another process's socket (attach-cbpf)"),
    (21, "CAP_SYS_ADMIN", "namespaces (demo); tracefs where it is not mounted; BPF before 5.8"),
    (12, "CAP_NET_ADMIN", "links and addresses (demo); XDP programs (spread)"),
)
PURPOSES = {name: purpose for _, name, purpose in CAPABILITIES}


def held(status: Path = Path("/proc/self/status")) -> dict[str, bool]:
    """Each capability of `CAPABILITIES` by name, and whether it is effective."""
    line = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:"))
    mask = int(line.split()[1], 16)
    return {name: bool(mask >> number & 1) for number, name, _ in CAPABILITIES}


def missing_for_probes() -> list[str]:
    """What this process lacks to load and attach probes; nothing with CAP_SYS_ADMIN."""
    has = held()
    if has["CAP_SYS_ADMIN"]:
        return []
    return [name for name in ("CAP_BPF", "CAP_PERFMON") if not has[name]]
