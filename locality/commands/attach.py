"""The command that steers a group. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from locality.commands.options import AT_LEAST_ONE, CPU_LIST, PORT, SECONDS, payload_options
from locality.commands.steer import (
    AUTO,
    Wish,
    follow_groups,
    set_incoming_cpus,
    some,
    steer,
    unsteer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.cbpf import Control
    from locality.reuseport.survey import FoundGroup

PAYLOAD = "payload"


@click.command("attach-cbpf")
@click.option("--port", type=PORT, help="Every group on this port, instead of --pid and --fd.")
@click.option("--comm", metavar="NAME", help="With --port: groups held by threads of this name.")
@click.option("--netns", type=AT_LEAST_ONE, metavar="INODE", help="With --port: only there.")
@click.option("--pid", type=int, help="Process that owns the socket; narrows --port.")
@click.option("--fd", type=int, help="The socket there; any member of the group.")
@click.option("--group", type=int, metavar="N", help="Size of the group: worker = X % N.")
@click.option(
    "--program",
    "name",
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
    type=click.Choice(["cbpf", "incoming-cpu"]),
    default="cbpf",
    show_default=True,
    help="A program, or SO_INCOMING_CPU on each listener.",
)
@click.option("--verify", type=SECONDS, metavar="S", help="Measure S seconds before and after.")
@click.option("--follow", is_flag=True, help="With --port: stay, and attach again when needed.")
@click.option("--detach-on-exit", is_flag=True, help="With --follow: take it away at the end.")
@click.option("--detach", "take_away", is_flag=True, help="Take away what --with names.")
@click.option("--dry-run", is_flag=True, help="Show the program and its answers; change nothing.")
@click.option("--force", is_flag=True, help="Attach also what would be refused.")
def attach_cbpf(
    *,
    port: int | None,
    comm: str | None,
    netns: int | None,
    pid: int | None,
    fd: int | None,
    group: int | None,
    name: str | None,
    payload_offset: int | None,
    mask: int | None,
    value: int | None,
    others: str | None,
    map_: str | None,
    rx_cpus: frozenset[int] | None,
    means: str,
    verify: float | None,
    follow: bool,
    detach_on_exit: bool,
    take_away: bool,
    dry_run: bool,
    force: bool,
) -> None:
    """Choose the worker of a SO_REUSEPORT group by the CPU that received the packet.

    Works on a running process, and tells what it would do before it acts. Exit status 3:
    --verify saw no improvement.
    """
    from locality.machine import topology

    program = group is not None or name is not None or map_ is not None
    _check_usage(
        {
            "--port, or --pid and --fd, say on which group": port is None and pid is None,
            "--pid is missing: give --pid and --fd, or --port": pid is None and fd is not None,
            "--fd is missing: give --pid and --fd, or --port": port is None and fd is None,
            "--fd names one socket and --port all: give one of them": None not in {port, fd},
            "--comm and --netns go with --port": port is None and (comm, netns) != (None, None),
            "--follow goes with --port, not with a process that ends": follow
            and (port is None or pid is not None),
            "--detach-on-exit goes with --follow": detach_on_exit and not follow,
            "--detach goes with --port, or --pid and --fd, alone": take_away
            and (program or dry_run or follow or verify is not None),
            "--with incoming-cpu goes with --port, --verify and --detach": means != "cbpf"
            and (port is None or program or dry_run or follow),
            "--map is a program of its own: leave --program out": None not in {map_, name},
            "--map auto knows the group's size: leave --group out": map_ == AUTO
            and group is not None,
            "--program payload needs --payload-offset and --value": name == PAYLOAD
            and None in {payload_offset, value},
            "--payload-offset, --mask, --value and --others go with --program payload": name
            != PAYLOAD
            and (payload_offset, mask, value, others) != (None, None, None, None),
            "--rx-cpus goes with --map auto": rx_cpus is not None and map_ != AUTO,
            "give the size of the group (--group N) or a table (--map)": port is None
            and not (take_away or group is not None or map_ is not None),
        }
    )
    control = _control(payload_offset, mask, value, others)
    find = _finder(port, comm, netns, pid)
    places = [(pid, fd)] if pid is not None and fd is not None else None
    if take_away:
        unsteer(places, find, means)
        return
    machine = topology.read()
    if rx_cpus and not rx_cpus <= set(machine.online):
        online = topology.format_cpu_list(machine.online)
        raise click.UsageError(f"--rx-cpus: the online CPUs are {online}")
    if means == "incoming-cpu":
        set_incoming_cpus(some(find()), machine, verify)
        return
    map_ = map_ if program else AUTO
    if places is None:
        found = find()
        # Whoever follows may wait for a server to start.
        places = [one.holder for one in (found if follow and not found else some(found))]
        netns = netns or (found[0].netns if found else None)
    wish = Wish(group, name or "cpu", control, map_, rx_cpus, verify, dry_run, force)
    plan = steer(places, machine, wish)
    if follow and not dry_run:
        netns = netns or Path("/proc/self/ns/net").stat().st_ino
        follow_groups(_finder(port, comm, netns, None), plan, detach_on_exit=detach_on_exit)


# --- on what ----------------------------------------------------------------------------


def _check_usage(mistakes: dict[str, bool]) -> None:
    for mistake, made in mistakes.items():
        if made:
            raise click.UsageError(mistake)


def _finder(
    port: int | None, comm: str | None, netns: int | None, pid: int | None
) -> Callable[[], list[FoundGroup]]:
    """What finds the groups; each time it is asked, for servers come and go."""

    def find() -> list[FoundGroup]:
        from locality.machine.processes import require_pids
        from locality.reuseport.survey import find as find_groups

        pids = () if pid is None else (pid,)
        require_pids(pids)
        found = find_groups(ports=() if port is None else (port,), pids=pids, comm=comm)
        return [one for one in found if one.protocol != "mptcp" and netns in {None, one.netns}]

    return find


def _control(
    offset: int | None, mask: int | None, value: int | None, others: str | None
) -> Control | None:
    from locality import cbpf

    if offset is None or value is None:
        return None
    return cbpf.Control(offset, value, 0xFF if mask is None else mask, others or "random")
