"""What a measurement is about: tasks, ports, namespaces, cgroups; decided in the kernel.

The probes' side is probes/filter.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from locality.errors import LocalityError
from locality.machine import pid_namespace
from locality.machine.processes import name_in_kernel

if TYPE_CHECKING:
    from locality.machine.cgroups import Cgroup

MAX_CHOICES = 64


@dataclass(frozen=True)
class Wanted:
    """What to count; all of it where nothing is chosen.

    Attributes:
        comm: Name of a thread, or of a process: that of its main thread. The kernel keeps 15
            bytes of it, so only these are compared.
        pids: Process ids, as our /proc has them; empty for all.
        ports: Local ports; empty for all.
        netns: Inode of the network namespace of the socket.
        cgroup: The cgroup of the thread, which may be in one below it.
    """

    comm: str | None = None
    pids: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()
    netns: int | None = field(default=None, kw_only=True)
    cgroup: Cgroup | None = field(default=None, kw_only=True)

    def rodata(self) -> dict[str, Any]:
        """The probe's constants.

        Raises:
            LocalityError: More pids or ports than the probe has room for.
        """
        for name, values in (("pids", self.pids), ("ports", self.ports)):
            if len(values) > MAX_CHOICES:
                raise LocalityError(
                    f"{len(values)} {name} given, {MAX_CHOICES} can be filtered at once: "
                    "leave the filter out and select afterwards",
                    exit_code=2,
                )
        return {
            **pid_namespace.rodata(),
            "only_comm": name_in_kernel(self.comm or ""),
            "pid_count": len(self.pids),
            "only_pids": self.pids,
            "port_count": len(self.ports),
            "only_ports": self.ports,
            "only_netns": self.netns or 0,
            "only_cgroup": self.cgroup.id if self.cgroup else 0,
        }

    @property
    def names_tasks(self) -> bool:
        """Whether it chooses among threads, and not only among sockets."""
        return bool(self.pids) or self.comm is not None or self.cgroup is not None

    def words(self) -> list[str]:
        """Each choice: ``comm nginx``, ``pid 1``, ``port 80``."""
        return [
            *([] if self.comm is None else [f"comm {self.comm}"]),
            *(f"pid {pid}" for pid in self.pids),
            *(f"port {port}" for port in self.ports),
            *([] if self.netns is None else [f"netns {self.netns}"]),
            *([] if self.cgroup is None else [f"cgroup {self.cgroup.path}"]),
        ]

    def __str__(self) -> str:
        return ", ".join(self.words()) or "everything"
