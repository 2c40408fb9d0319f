"""The pid namespace we are in, for the probes: they number tasks as our /proc does."""

from __future__ import annotations

from pathlib import Path

INITIAL = 0xEFFFFFFC
"""PROC_PID_INIT_INO of include/linux/proc_ns.h."""


def rodata() -> dict[str, int]:
    """The constant of probes/pid_namespace.h: the namespace's inode number, 0 for the initial."""
    try:
        inode = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # no /proc, or a kernel without pid namespaces
        inode = INITIAL
    return {"own_pid_ns": 0 if inode == INITIAL else inode}
