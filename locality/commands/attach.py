"""The command that steers a group: its options. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

from typing import Any

import click

from locality.commands.options import AT_LEAST_ONE, CPU_LIST, PORT, SECONDS, payload_options
from locality.commands.steering_request import CBPF, INCOMING_CPU, PAYLOAD, Request


@click.command("attach-cbpf")
@click.option("--port", type=PORT, help="Every group on this port, instead of --pid and --fd.")
@click.option(
    "--comm",
    metavar="NAME",
    help="With --port: groups of a process with this name, or with a thread of it.",
)
@click.option("--proto", type=click.Choice(["tcp", "udp"]), help="With --port: only these groups.")
@click.option("--netns", type=AT_LEAST_ONE, metavar="INODE", help="With --port: only there.")
@click.option("--pid", type=int, help="Process that owns the socket; narrows --port.")
@click.option("--fd", type=int, help="The socket there; any member of the group.")
@click.option("--group", type=int, metavar="N", help="Size of the group: worker = X % N.")
@click.option(
    "--program",
    type=click.Choice(["cpu", "random", "queue", "rxhash", PAYLOAD]),
    help="What X is; payload: control traffic to index 0, the rest to others.  [default: cpu]",
)
@payload_options
@click.option(
    "--map", "map_", metavar="auto|CPU:INDEX,…", help="A table; auto: to the nearest worker."
)
@click.option("--rx-cpus", type=CPU_LIST, help="For auto: who receives.  [default: measured]")
@click.option(
    "--with",
    "means",
    type=click.Choice([CBPF, INCOMING_CPU]),
    default=CBPF,
    show_default=True,
    help="A program, or SO_INCOMING_CPU on each listener.",
)
@click.option("--verify", type=SECONDS, metavar="S", help="Measure S seconds before and after.")
@click.option("--follow", is_flag=True, help="With --port: stay, and attach again when needed.")
@click.option("--detach-on-exit", is_flag=True, help="With --follow: take it away at the end.")
@click.option("--detach", is_flag=True, help="Take away what --with names.")
@click.option("--dry-run", is_flag=True, help="Show the program and its answers; change nothing.")
@click.option("--force", is_flag=True, help="Attach also what would be refused.")
def attach_cbpf(**options: Any) -> None:  # noqa: ANN401 - Request names each and its type
    """Choose the worker of a SO_REUSEPORT group by the CPU that received the packet.

    Works on a running process, and tells what it would do before it acts. Exit status 3:
    --verify saw no improvement.
    """
    from locality.commands.steer import steer

    request = Request(**options)
    request.check()
    steer(request)
