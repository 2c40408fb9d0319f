"""The command that steers a group: its options. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

from typing import Any

import click

from locality.commands.completion import words
from locality.commands.filters import namespace, netns_option
from locality.commands.numbers import WHOLE
from locality.commands.options import payload_options
from locality.commands.steering_request import CBPF, INCOMING_CPU, PAYLOAD, Request
from locality.commands.values import CPU_LIST, NAME, PORT, SECONDS, Lengths, Spill


@click.command("attach-cbpf")
@click.option(
    "--port",
    type=PORT,
    metavar="PORT",
    help="Steer every group on this port, of TCP and UDP. Or name one socket by --pid and --fd.",
)
@click.option(
    "--comm",
    type=NAME,
    metavar="NAME",
    help="With --port: only groups of a process of this name, or with a thread of this name.",
)
@click.option(
    "--proto",
    type=click.Choice(["tcp", "udp"]),
    help="With --port: only groups of this protocol.  [default: both]",
)
@netns_option("With --port: only groups")
@click.option(
    "--pid",
    type=WHOLE,
    metavar="PID",
    help="Name the process that holds the socket of --fd. With --port: only its groups.",
)
@click.option(
    "--fd",
    type=WHOLE,
    metavar="FD",
    help="With --pid: name the file descriptor of any socket of the group.",
)
@click.option(
    "--group", type=WHOLE, metavar="N", help="Set the size of the group: the index is X % N."
)
@click.option(
    "--program",
    type=click.Choice(["cpu", "random", "queue", "rxhash", PAYLOAD]),
    help="Choose X: the CPU that processes the packet, a random number, the RX queue, or the flow "
    "hash. payload sends control traffic to index 0 and the rest to the other sockets.  "
    "[default: cpu]",
)
@payload_options
@click.option(
    "--map",
    "map_",
    metavar="auto|CPU:INDEX,...",
    shell_complete=words("auto"),
    help="Attach a table from CPU to index. auto makes one that leads to the nearest worker.  "
    "[default with --port: auto]",
)
@click.option(
    "--rx-cpus",
    type=CPU_LIST,
    help="With --map auto: name the CPUs that receive packets, such as 0-3,8.  [default: measured]",
)
@click.option(
    "--spill",
    type=Spill(),
    metavar="N|auto",
    shell_complete=words("auto"),
    help="With --map auto, for TCP: attach an eBPF program that does the same, but if more than N "
    "connections wait for a worker, gives the next ones to the nearest worker for which fewer "
    "wait. auto chooses N from what is measured.",
)
@click.option(
    "--queues",
    type=Lengths(),
    metavar="LENGTHS",
    help="With --spill and --dry-run: print the answers for these numbers of connections that wait "
    "at index 0, 1, ..., such as 5,0,2.  [default: as many as wait now]",
)
@click.option(
    "--with",
    "means",
    type=click.Choice([CBPF, INCOMING_CPU]),
    default=CBPF,
    show_default=True,
    help="Choose the means: a classic BPF program, or SO_INCOMING_CPU on each listener.",
)
@click.option("--verify", type=SECONDS, help="Measure for this time before and after, and compare.")
@click.option(
    "--follow",
    is_flag=True,
    help="With --port: keep running, and attach again when the server restarts or reloads.",
)
@click.option(
    "--detach-on-exit", is_flag=True, help="With --follow: detach the program at the end."
)
@click.option(
    "--detach",
    is_flag=True,
    help="Detach the program, or clear SO_INCOMING_CPU if --with incoming-cpu is given.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the program and its answer for each CPU, and change nothing.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Attach even if a check refuses it, and replace or detach an eBPF program of another "
    "owner, which cannot be put back.",
)
def attach_cbpf(**options: Any) -> None:  # noqa: ANN401 - Request names each and its type
    """Choose the worker of a group by the CPU that receives.

    Attaches a classic BPF program to the SO_REUSEPORT group of a running server, in place of the
    one that the group may have, and says what the program does. --dry-run changes nothing. Exit
    code 3: --verify showed no improvement, though not all was local before.
    """
    from locality.commands.steer import steer

    request = Request(**options | {"netns": namespace(options["netns"])})
    request.check()
    steer(request)
