"""The veth between server and client, their addresses, and how packets are spread over CPUs.

A veth pair has no interrupts: without help, the CPU that receives a packet is the CPU
its sender ran on. Receive packet steering (RPS) stands in for a network card's queues:
the kernel hashes each flow and hands its packets to one CPU of a mask (get_rps_cpu in
net/core/dev.c). SYN and ACK of a connection have one hash and so one CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.machine.topology import format_cpu_mask

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.lab.namespaces import Namespace

# From 198.18.0.0/15, which RFC 2544 sets aside for benchmarks between two networks.
SERVER_ADDRESS = "198.18.0.1"
CLIENT_ADDRESS = "198.18.0.2"
LINK = "eth0"
"""The cable's name, at both ends."""

# One address on each side lasts: the server closes first, so the waiting sockets are on its
# side, where a new SYN may replace one at once (tcp_timewait_state_process). The few that the
# client closes first free their port after a second.
CLIENT_SYSCTLS = {
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv4/tcp_tw_reuse": "1",
}


def connect(server: Namespace, client: Namespace, cpus: Collection[int]) -> None:
    """Join two namespaces with a veth pair; the server receives on the given CPUs.

    Args:
        server: Gets SERVER_ADDRESS.
        client: Gets CLIENT_ADDRESS and as many local ports as there are.
        cpus: The server's RX CPUs; also one queue for each in both ends.

    Raises:
        LocalityError: A command failed; carries it and its last line.
    """
    join_by_veth(server, client, len(cpus))
    set_addresses(server, client)
    receive_on(server, cpus, len(cpus))


def join_by_veth(server: Namespace, client: Namespace, queues: int) -> None:
    """Make a veth pair with so many queues, one end in each namespace.

    Raises:
        LocalityError: A command failed; carries it and its last line.
    """
    count = str(queues)
    both = ("numrxqueues", count, "numtxqueues", count)
    near = ("name", LINK, *both)
    far = ("name", LINK, *both, "netns", str(client.pid))
    server.run("ip", "link", "add", *near, "type", "veth", "peer", *far)


def set_addresses(server: Namespace, client: Namespace) -> None:
    """Give both ends of the cable their addresses, and bring them up.

    Args:
        server: Gets SERVER_ADDRESS.
        client: Gets CLIENT_ADDRESS and as many local ports as there are.

    Raises:
        LocalityError: A command failed; carries it and its last line.
    """
    for end, address in ((server, SERVER_ADDRESS), (client, CLIENT_ADDRESS)):
        end.run("ip", "address", "add", f"{address}/24", "dev", LINK)
        end.run("ip", "link", "set", LINK, "up")
    for name, value in CLIENT_SYSCTLS.items():
        client.write(f"/proc/sys/{name}", value)


def receive_on(server: Namespace, cpus: Collection[int], queues: int) -> None:
    """Spread what a namespace receives over these CPUs, by flow.

    Args:
        server: Where.
        cpus: The RX CPUs.
        queues: How many queues its end of the cable has.

    Raises:
        LocalityError: The kernel refused.
    """
    for queue in range(queues):
        # veth records no RX queue, so all packets count as queue 0; the rest is for symmetry.
        server.write(f"/sys/class/net/{LINK}/queues/rx-{queue}/rps_cpus", format_cpu_mask(cpus))
