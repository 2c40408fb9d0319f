"""Networks for the workloads: loopback, a veth pair, two virtio NICs on one cable.

The ends of the last two are in namespaces of their own, so that what is sent to the other end
has to go there. Neighbours are told and IPv6 is off: the only packets are the workload's.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from locality.lab.namespaces import Namespace, namespace
from tests.live.helpers.traffic import HERE, Network
from tests.vm.guest import JOINED_NICS

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER_ADDRESS = "198.18.0.1"
CLIENT_ADDRESS = "198.18.0.2"


@contextmanager
def veth() -> Iterator[Network]:
    """A veth pair between two namespaces."""
    with namespace() as server, namespace() as client:
        server.run(
            *("ip", "link", "add", "name", "cable", "type", "veth"),
            *("peer", "name", "cable", "netns", str(client.pid)),
        )
        yield _up("veth", (server, "cable"), (client, "cable"))


def virtio_nics() -> list[str]:
    """The names of the guest's two joined NICs; none on any other machine."""
    subprocess.run(["modprobe", "virtio_net"], check=False, capture_output=True)
    if shutil.which("udevadm"):
        # udev gives them other names when they come, which may take a moment.
        subprocess.run(["udevadm", "settle"], check=False, capture_output=True)
    by_address = {
        (device / "address").read_text().strip(): device.name
        for device in Path("/sys/class/net").iterdir()
        if (device / "address").exists()
    }
    return [by_address[address] for address in JOINED_NICS if address in by_address]


@contextmanager
def virtio() -> Iterator[Network]:
    """Two virtio NICs, each in a namespace; one CPU takes the interrupts of both."""
    near, far = virtio_nics()
    for name in (near, far):
        _interrupt(name, HERE)
    with namespace() as server, namespace() as client:
        for name, end in ((near, server), (far, client)):
            subprocess.run(["ip", "link", "set", name, "netns", str(end.pid)], check=True)
        yield _up("virtio", (server, near), (client, far))


def _interrupt(name: str, cpu: int) -> None:
    """Let one CPU take a NIC's interrupts: input, output and configuration."""
    device = Path(f"/sys/class/net/{name}/device").resolve().name
    for line in Path("/proc/interrupts").read_text().splitlines():
        if f"{device}-" in line:
            number = line.partition(":")[0].strip()
            Path(f"/proc/irq/{number}/smp_affinity_list").write_text(f"{cpu}\n")


def _up(kind: str, server: tuple[Namespace, str], client: tuple[Namespace, str]) -> Network:
    hardware = {}
    for address, (end, name) in ((SERVER_ADDRESS, server), (CLIENT_ADDRESS, client)):
        end.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
        end.run("ip", "address", "add", f"{address}/24", "dev", name)
        end.run("ip", "link", "set", name, "up")
        hardware[address] = end.run("cat", f"/sys/class/net/{name}/address").strip()
    for address, (end, name) in ((CLIENT_ADDRESS, server), (SERVER_ADDRESS, client)):
        known = ("lladdr", hardware[address], "nud", "permanent")
        end.run("ip", "neighbour", "replace", address, *known, "dev", name)
    return Network(kind, SERVER_ADDRESS, server[0].pid, client[0].pid)
