"""Trees in the form of /sys/devices/system, and what is read from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.machine import topology

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def listed(cpus: list[int]) -> str:
    return ",".join(map(str, cpus)) + "\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(
    sysfs: Path,
    *,
    possible: str,
    online: str,
    nodes: Sequence[str] = (),
    cores: Sequence[list[int]] = (),
    caches: Sequence[tuple[int, list[int]]] = (),
) -> topology.Topology:
    """Write a tree and read it. Caches are (level, CPUs that share it)."""
    write(sysfs / "cpu/possible", possible + "\n")
    write(sysfs / "cpu/online", online + "\n")
    for number, text in enumerate(nodes):
        write(sysfs / f"node/node{number}/cpulist", text + "\n")
    for core in cores:
        for cpu in core:
            path = sysfs / f"cpu/cpu{cpu}/topology/thread_siblings_list"
            write(path, listed(core))
    indexes: dict[int, int] = {}
    for level, cpus in caches:
        for cpu in cpus:
            index = indexes.get(cpu, 0)
            indexes[cpu] = index + 1
            cache = sysfs / f"cpu/cpu{cpu}/cache/index{index}"
            write(cache / "level", f"{level}\n")
            write(cache / "shared_cpu_list", listed(cpus))
    return topology.read(sysfs)
