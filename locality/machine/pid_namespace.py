"""The pid namespace of our /proc, for the probes: they number tasks as it does."""

from __future__ import annotations

from pathlib import Path

INITIAL = 0xEFFFFFFC
"""PROC_PID_INIT_INO of include/linux/proc_ns.h."""


def rodata() -> dict[str, int]:
    """The constant of probes/pid_namespace.h: the namespace's inode number, 0 for the initial."""
    # Process 1 of a /proc is in the namespace that it shows. We may be in one below, or not be
    # allowed to ask.
    for process in ("1", "self"):
        try:
            inode = Path(f"/proc/{process}/ns/pid").stat().st_ino
        except OSError:  # also without a /proc, or on a kernel without pid namespaces
            continue
        return {"own_pid_ns": 0 if inode == INITIAL else inode}
    return {"own_pid_ns": 0}
