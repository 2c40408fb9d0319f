"""Control groups (v2): of processes, as a user names them, and what a container is called."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.arrays import Array

PROC = Path("/proc")

#: How container managers name a cgroup: docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope,
#: libpod-ID.scope, and a plain ID below a directory of the manager's or of the pod's.
_SCOPE = re.compile(r"^(?:([a-z-]+)-)?([0-9a-f]{64})(?:\.scope)?$")
_SHOWN_OF_ID = 12

#: Paths that are kept: cgroups come and go with their containers.
_MOST_KNOWN = 4096


class Cgroup(NamedTuple):
    """A cgroup of the unified hierarchy.

    Attributes:
        path: As /proc/PID/cgroup has it: ``/system.slice/nginx.service``.
        id: The number by which the kernel and the probes know it: its directory's inode.
        directory: Where it is mounted.
    """

    path: str
    id: int
    directory: Path


def path_of(pid: int, proc: Path = PROC) -> str | None:
    """The path of a process's cgroup in the unified hierarchy (v2); None if it cannot be told."""
    with suppress(OSError):
        for line in (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                return path
    return None


def find(text: str, proc: Path = PROC) -> Cgroup:
    """The cgroup that a user names.

    Args:
        text: Its path below the mount of the unified hierarchy, or that of its directory.
        proc: Says where that hierarchy is mounted.

    Raises:
        LocalityError: The hierarchy is not mounted, or has no such cgroup.
    """
    mounts = _mounts(proc)
    if not mounts:
        raise LocalityError(
            "no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup"
        )
    given = Path(text)
    places = [mount / text.strip("/") for mount in mounts]
    if any(given.is_relative_to(mount) for mount in mounts):
        places.insert(0, given)
    for directory in places:
        # `..` and links could lead out of the hierarchy.
        with suppress(OSError, ValueError):
            real = directory.resolve(strict=True)
            for mount in mounts:
                if real.is_relative_to(mount) and (real / "cgroup.procs").is_file():
                    path = "/".join(("", *real.relative_to(mount).parts)) or "/"
                    return Cgroup(path, real.stat().st_ino, real)
    where = " or ".join(map(str, mounts))
    raise LocalityError(
        f"there is no cgroup {printable(text)!r} below {where}: 'systemd-cgls' shows the paths, "
        "and /proc/PID/cgroup that of a process (behind 0::)"
    )


def _mounts(proc: Path) -> list[Path]:
    """Where the unified hierarchy is mounted."""
    found = []
    with suppress(OSError):
        for line in (proc / "self/mountinfo").read_text(errors="replace").splitlines():
            where, _, what = line.partition(" - ")
            if what.startswith("cgroup2 "):
                # Blanks and the like are written as three octal digits.
                path = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), where.split()[4])
                found.append(Path(path))
    return found


def processes_in(cgroup: Cgroup) -> set[int]:
    """The processes in a cgroup and everything below it."""
    pids: set[int] = set()
    # os.walk() passes by a cgroup that goes meanwhile.
    for directory, _below, _files in os.walk(cgroup.directory):
        with suppress(OSError):  # it was just removed, or is threaded
            pids |= {int(line) for line in Path(directory, "cgroup.procs").read_text().split()}
    return pids - {0}  # those of other pid namespaces


def _leads_elsewhere(path: str, number: int) -> bool:
    """Whether a path is that of another cgroup: its process has been moved there meanwhile."""
    for mount in _mounts(PROC):
        # What is not mounted here cannot be told.
        with suppress(OSError, ValueError):
            return (mount / path.lstrip("/")).stat().st_ino != number
    return False


class CgroupPaths:
    """Paths of cgroups by their ids: each is asked for once, of a process that is in it.

    Of very many, only those are kept that were asked for last.
    """

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, ids: Array, pids: Array) -> Mapping[int, str]:
        """The paths of these cgroups, of those that can be told.

        Args:
            ids: Of cgroups; 0 for none.
            pids: For each, a process that is in it.
        """
        paths = {}
        distinct, first = np.unique(ids, return_index=True)
        for number, pid in zip(distinct.tolist(), pids[first].tolist(), strict=True):
            if not number:
                continue
            if number not in self._known:
                path = path_of(pid)
                if path is not None and not _leads_elsewhere(path, number):
                    self._known[number] = path
            if number in self._known:
                paths[number] = self._known[number]
        if len(self._known) > _MOST_KNOWN:
            self._known = dict(paths)
        return paths


def container_of(path: str) -> str | None:
    """What a container is called by its cgroup's path, ``docker 0123456789ab``; None for others."""
    parts = [part for part in path.split("/") if part]
    for place, part in reversed([*enumerate(parts)]):
        if match := _SCOPE.match(part):
            manager = match[1] or (parts[place - 1] if place else "container")
            manager = manager.removeprefix("cri-")
            if manager.startswith(("pod", "kubepods")):
                manager = "pod"
            return f"{manager} {match[2][:_SHOWN_OF_ID]}"
    return None


def name_of(path: str) -> str:
    """What people call a cgroup: ``nginx.service``, or ``docker 0123456789ab`` for a container.

    A path that names no container and no unit is its own name.
    """
    if (container := container_of(path)) is not None:
        return container
    parts = [part for part in path.split("/") if part]
    for part in reversed(parts):
        if part.endswith((".service", ".scope", ".socket")):
            return part
    return path
