"""The facts: what files and calls say of a machine's network devices, CPUs and settings.

Everything is read below a root, so a tree captured elsewhere is read as this machine is.
A fact that could not be read is None, and why is in `Machine.unread`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.doctor.device import NET, read_device
from locality.doctor.interrupts import parse_interrupts
from locality.doctor.values import Files, Unread, Value
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from locality.doctor.device import Device
    from locality.machine.ethtool import Link

CPUS = "/sys/devices/system/cpu"
CORE = "/proc/sys/net/core"
NODES = "/sys/devices/system/node"
CGROUPS = "/sys/fs/cgroup"
SYSCTLS = ("rps_sock_flow_entries", "skb_defer_max", "somaxconn")
NETSTAT = "/proc/net/netstat"


@dataclass(frozen=True, slots=True)
class Machine:
    """What was read of a machine.

    Attributes:
        online: Its CPUs, ascending.
        nodes: The CPUs of each NUMA node; empty where the kernel shows none.
        devices: The network devices of this namespace, by name.
        irqbalance: /proc/PID/comm of a running irqbalance.
        sysctls: Those of `SYSCTLS` that this network namespace shows, by name.
        counters: Counters of /proc/net/netstat, such as TcpExt's ListenOverflows.
        unread: What is there and could not be read.
        isolated: CPUs of isolcpus, nohz_full, or an isolated cpuset partition.
        outside: Online CPUs outside the cpuset that this process is in.
        asked: The device that was asked for, or None for all; `devices` then has that one
            and those below it.
    """

    online: tuple[int, ...]
    nodes: Mapping[int, tuple[int, ...]]
    devices: tuple[Device, ...]
    irqbalance: Value | None
    sysctls: Mapping[str, Value]
    counters: Mapping[str, Value]
    unread: tuple[Unread, ...]
    isolated: frozenset[int] = frozenset()
    outside: frozenset[int] = frozenset()
    asked: str | None = None

    @property
    def reserved(self) -> frozenset[int]:
        """The CPUs to which nothing is moved unless it was sent there on purpose before."""
        return self.isolated | self.outside

    @property
    def housekeeping(self) -> tuple[int, ...]:
        """The online CPUs that are not reserved; all where every CPU is."""
        return tuple(cpu for cpu in self.online if cpu not in self.reserved) or self.online

    def device(self, name: str) -> Device | None:
        """A device by its name, if it was read."""
        return next((device for device in self.devices if device.name == name), None)


def read(root: Path, links: Mapping[str, Link], only: str | None = None) -> Machine:
    """Read a machine.

    Args:
        root: The root directory, or a captured tree.
        links: Its devices as netlink shows them; see `ethtool.read_links`.
        only: Read this device and those below it alone.

    Raises:
        LocalityError: There is no such device, or sysfs is another namespace's.
    """
    files = Files(root)
    _same_namespace(files, links)
    if only is not None and only not in links:
        raise LocalityError(f"no network device {only!r} here: {', '.join(sorted(links))}")
    online = files.read(f"{CPUS}/online")
    if online is None:
        raise LocalityError(f"{CPUS}/online cannot be read: is /sys mounted?")
    interrupts = files.read("/proc/interrupts")
    names = parse_interrupts(interrupts.content) if interrupts else {}
    devices: dict[str, Device] = {}
    wanted = [only] if only is not None else list(links)
    while wanted:
        name = wanted.pop()
        if name in links and name not in devices:
            devices[name] = read_device(files, name, links, names)
            wanted += devices[name].lower
    nodes = {
        int(node.removeprefix("node")): cpus.cpu_list
        for node in files.names(NODES)
        if re.fullmatch(r"node\d+", node) and (cpus := files.read(f"{NODES}/{node}/cpulist"))
    }
    sysctls = {name: files.read(f"{CORE}/{name}") for name in SYSCTLS}
    netstat = files.read(NETSTAT)
    return Machine(
        online.cpu_list,
        nodes,
        tuple(device for _, device in sorted(devices.items())),
        _irqbalance(files),
        {name: value for name, value in sysctls.items() if value},
        parse_netstat(netstat) if netstat else {},
        (*files.unread, *(one for device in devices.values() for one in device.link.unread)),
        frozenset(_isolated(files)),
        frozenset(set(online.cpu_list).difference(_cpuset(files) or online.cpu_list)),
        only,
    )


def parse_netstat(netstat: Value) -> dict[str, Value]:
    """Counters of /proc/net/netstat by name: a line of names, then a line of numbers."""
    lines = netstat.content.splitlines()
    return {
        name: Value(netstat.source, f"{name} {number}")
        for names, numbers in zip(lines[::2], lines[1::2], strict=False)
        for name, number in zip(names.split()[1:], numbers.split()[1:], strict=False)
    }


def _same_namespace(files: Files, links: Mapping[str, Link]) -> None:
    """After `nsenter --net` or `unshare --net` /sys still shows the devices of before."""
    if not files.names(NET):
        raise LocalityError(f"{NET} cannot be read: is sysfs mounted (mount -t sysfs sysfs /sys)?")
    for name, link in links.items():
        index = files.read(f"{NET}/{name}/ifindex")
        if index is None or index.number != link.index:
            raise LocalityError(
                f"/sys shows the devices of another network namespace ({name} is not there, or "
                "another one): mount -t sysfs sysfs /sys, in a mount namespace of your own"
            )


def _isolated(files: Files) -> set[int]:
    paths = (f"{CPUS}/isolated", f"{CPUS}/nohz_full", f"{CGROUPS}/cpuset.cpus.isolated")
    values = [value for path in paths if (value := files.read(path))]
    # Kernels without nohz_full= on their command line wrote "(null)" there.
    return {cpu for value in values if value.text != "(null)" for cpu in value.cpu_list}


def _cpuset(files: Files) -> tuple[int, ...]:
    """The CPUs of the cpuset that this process is in; none where that is not known."""
    groups = files.read("/proc/self/cgroup")
    lines = groups.content.splitlines() if groups else ["0::/"]
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:  # version 2: the next group above that has the controller
            parents = path.split("/")[: None if path != "/" else 1]
            paths = ["/".join(parents[:n]) for n in range(len(parents), 0, -1)]
            places = [f"{CGROUPS}{one}/cpuset.cpus.effective" for one in paths]
        elif "cpuset" in controllers.split(","):
            mount = f"{CGROUPS}/cpuset"
            places = [f"{mount}{path}/cpuset.effective_cpus", f"{mount}/cpuset.effective_cpus"]
        else:
            continue
        for place in places:
            if (cpus := files.read(place)) and cpus.text:
                return cpus.cpu_list
    # The affinity of a process is inside its cpuset; taskset makes it smaller.
    status = files.read("/proc/self/status")
    for line in status.content.splitlines() if status else []:
        if line.startswith("Cpus_allowed_list:"):
            return Value(status.source, line.partition(":")[2]).cpu_list if status else ()
    return ()


def _irqbalance(files: Files) -> Value | None:
    """The comm file of irqbalance, if it runs in a process that we can see."""
    for pid in filter(str.isdecimal, files.names("/proc")):
        comm = files.read(f"/proc/{pid}/comm")
        if comm and comm.text == "irqbalance":
            return comm
    return None
