"""Captured trees: the files of a machine's /proc and /sys that the doctor reads, as one text.

A tree file has comment lines with its source, then for each file a line ``= path`` and its
content; ``= links`` holds what netlink and ethtool said, as JSON. By hand, on the machine:
``python -m tests.trees.trees > name.tree``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from locality.machine.ethtool import Channels, Link, read_links

HERE = Path(__file__).parent

FILES = (
    "proc/interrupts",
    "proc/irq/*/smp_affinity_list",
    "proc/irq/*/effective_affinity_list",
    "proc/net/netstat",
    "proc/sys/net/core/rps_sock_flow_entries",
    "proc/sys/net/core/skb_defer_max",
    "proc/sys/net/core/somaxconn",
    "proc/self/cgroup",
    "sys/devices/system/cpu/isolated",
    "sys/devices/system/cpu/nohz_full",
    "sys/devices/system/cpu/online",
    "sys/devices/system/node/node*/cpulist",
    "sys/class/net/*/ifindex",
    "sys/class/net/*/iflink",
    "sys/class/net/*/lower_*/ifindex",
    "sys/class/net/*/operstate",
    "sys/class/net/*/threaded",
    "sys/class/net/*/device/modalias",
    "sys/class/net/*/device/numa_node",
    "sys/class/net/*/device/msi_irqs/*",
    "sys/class/net/*/device/../numa_node",
    "sys/class/net/*/device/../msi_irqs/*",
    "sys/class/net/*/queues/*/rps_cpus",
    "sys/class/net/*/queues/*/rps_flow_cnt",
    "sys/class/net/*/queues/*/xps_cpus",
)


def names() -> list[str]:
    """The captured trees."""
    return sorted(path.stem for path in HERE.glob("*.tree"))


def unpack(name: str, into: Path) -> dict[str, Link]:
    """Write a tree's files below a directory; returns its links."""
    return unpack_text((HERE / f"{name}.tree").read_text("ascii"), into)


def unpack_text(text: str, into: Path) -> dict[str, Link]:
    """The same, from a text that `capture` made."""
    _, *files = f"\n{text}".split("\n= ")
    links: dict[str, Link] = {}
    for file in files:
        path, _, content = file.partition("\n")
        if path == "links":
            links = {name: _link(**told) for name, told in json.loads(content).items()}
            continue
        # A `device/..` of the capture is the device's own directory here: nothing is a link.
        place = Path(str(into / path).replace("/device/..", ""))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{content}\n", "ascii")
    for name in links:
        (into / f"sys/class/net/{name}/device").mkdir(exist_ok=True)
    return links


def capture() -> str:
    """This machine as a tree file, without its source."""
    links = {name: asdict(link) for name, link in read_links().items()}
    text = [f"= links\n{json.dumps(links, indent=1)}\n"]
    for pattern in FILES:
        for path in sorted(Path("/").glob(pattern)):
            try:
                text.append(f"= {str(path)[1:]}\n{path.read_text('ascii')}")
            except OSError:
                continue  # an attribute that this device does not have
    return "".join(text)


def _link(**told: object) -> Link:
    channels = told.pop("channels", None)
    told.pop("unread", None)
    tables = {name: tuple(table) for name, table in told.items() if isinstance(table, list)}
    return Link(
        channels=Channels(**channels) if isinstance(channels, dict) else None,
        **{**told, **tables},  # type: ignore[arg-type]
    )


if __name__ == "__main__":
    sys.stdout.write(capture())
