"""Control groups of processes, and what a container is called by its cgroup's path."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

#: How container managers name a cgroup: docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope,
#: libpod-ID.scope, and a plain ID below a directory of the manager's or of the pod's.
_SCOPE = re.compile(r"^(?:([a-z-]+)-)?([0-9a-f]{64})(?:\.scope)?$")
_SHOWN_OF_ID = 12


def path_of(pid: int, proc: Path = Path("/proc")) -> str | None:
    """The path of a process's cgroup in the unified hierarchy (v2); None if it cannot be told."""
    with suppress(OSError):
        for line in (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                return path
    return None


def name_of(path: str) -> str:
    """What people call a cgroup: ``nginx.service``, or ``docker 0123456789ab`` for a container.

    A path that names no container and no unit is its own name.
    """
    parts = [part for part in path.split("/") if part]
    for place, part in reversed([*enumerate(parts)]):
        if match := _SCOPE.match(part):
            manager = match[1] or (parts[place - 1] if place else "container")
            manager = manager.removeprefix("cri-")
            if manager.startswith(("pod", "kubepods")):
                manager = "pod"
            return f"{manager} {match[2][:_SHOWN_OF_ID]}"
    for part in reversed(parts):
        if part.endswith((".service", ".scope", ".socket")):
            return part
    return path
