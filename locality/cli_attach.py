"""The command that steers a group. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from locality.cli_output import show, tell
from locality.errors import LocalityError
from locality.options import AT_LEAST_ONE, CPU_LIST, PORT, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.accept_summary import AcceptSummary
    from locality.cbpf import Program
    from locality.groups import FoundGroup
    from locality.steering import Plan
    from locality.target import Target
    from locality.topology import Topology
    from locality.verify import Watch

AUTO = "auto"
SAMPLE_S = 1.0
"""How long to look which CPUs receive, unless told or verified."""


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
    type=click.Choice(["cpu", "random", "queue", "rxhash"]),
    help="What X is.  [default: cpu]",
)
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
    from locality import topology

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
            "--rx-cpus goes with --map auto": rx_cpus is not None and map_ != AUTO,
            "give the size of the group (--group N) or a table (--map)": port is None
            and not (take_away or group is not None or map_ is not None),
        }
    )
    find = _finder(port, comm, netns, pid)
    places = [(pid, fd)] if pid is not None and fd is not None else None
    if take_away:
        _take_away(places, find, means)
        return
    machine = topology.read()
    if rx_cpus and not rx_cpus <= set(machine.online):
        online = topology.format_cpu_list(machine.online)
        raise click.UsageError(f"--rx-cpus: the online CPUs are {online}")
    if means == "incoming-cpu":
        _set_incoming_cpus(_some(find()), machine, verify)
        return
    map_ = map_ if program else AUTO
    if places is None:
        found = find()
        # Whoever follows may wait for a server to start.
        places = [one.lender for one in (found if follow and not found else _some(found))]
        netns = netns or (found[0].netns if found else None)
    plan = _steer(places, machine, _Wish(group, name, map_, rx_cpus, verify, dry_run, force))
    if follow and not dry_run:
        netns = netns or Path("/proc/self/ns/net").stat().st_ino
        _follow(_finder(port, comm, netns, None), plan, detach_on_exit=detach_on_exit)


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
        from locality.groups import find as find_groups
        from locality.processes import require_pids

        pids = () if pid is None else (pid,)
        require_pids(pids)
        found = find_groups(ports=() if port is None else (port,), pids=pids, comm=comm)
        return [one for one in found if one.protocol != "mptcp" and netns in {None, one.netns}]

    return find


def _some(found: list[FoundGroup]) -> list[FoundGroup]:
    """The groups, if there are any and they are of one server."""
    from locality.groups import of_one_server

    return of_one_server(found)


# --- what to do -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wish:
    """What program is asked for, and how."""

    group: int | None
    name: str | None
    map_: str | None
    rx_cpus: frozenset[int] | None
    verify: float | None
    dry_run: bool
    force: bool

    @property
    def sample(self) -> float | None:
        """How long to look before acting, if at all."""
        measured = self.map_ == AUTO and self.rx_cpus is None
        return self.verify or (SAMPLE_S if measured else None)


def _steer(places: list[tuple[int, int]], machine: Topology, wish: _Wish) -> Plan:
    """Attach to every place what is wished for; what was planned is returned."""
    from locality import attach_cbpf as act
    from locality.target import inspect

    with ExitStack() as stack:
        watch = before = None
        if wish.sample and places:
            watch = _watch(stack, places, machine, needed=wish.verify is not None)
            before = watch.count(wish.sample) if watch else None
        plan = _plan(wish, machine, before)
        targets = [inspect(*place) for place in places]
        programs = [plan(target.group) for target in targets]
        meaning = [
            _look(target, program, machine, wish)
            for target, program in zip(targets, programs, strict=True)
        ]
        if wish.dry_run or wish.map_ == AUTO:  # made here: shown before it acts
            show(line for lines in meaning for line in lines)
        if wish.dry_run:
            return plan
        for target, program, lines in zip(targets, programs, meaning, strict=True):
            act.attach(target.pid, target.fd, program)
            size = wish.group if wish.group is not None else len(target.group.members)
            show([act.attached_line(target.pid, target.fd, size)])
            show(lines if wish.map_ != AUTO else [])
        if watch and before and wish.verify:
            _compare(before, watch, wish.verify)
    return plan


def _plan(wish: _Wish, machine: Topology, before: AcceptSummary | None) -> Plan:
    from locality import cbpf, steering
    from locality.topology import format_cpu_list
    from locality.verify import receiving_cpus

    if wish.map_ == AUTO:
        receiving = wish.rx_cpus
        if receiving is None:
            receiving = receiving_cpus(before) if before else frozenset(machine.online)
            where = f"{before.total} connections were seen" if before else "none could be seen"
            tell(f"RX CPUs {format_cpu_list(receiving)}: {where}")
        return steering.AutoMap(machine, receiving, wish.force)
    if wish.map_ is not None:
        return steering.fixed(cbpf.table(cbpf.parse_map(wish.map_)))
    if wish.group is not None:
        return steering.fixed(cbpf.BUILDERS[wish.name or "cpu"](wish.group))
    return steering.by_size(wish.name or "cpu")


def _look(target: Target, program: Program, machine: Topology, wish: _Wish) -> list[str]:
    """What a program would do, in words; what speaks against it is said, or refuses."""
    from locality import preflight

    findings = preflight.decide(target, program, wish.group, machine.online)
    refusals = [finding for finding in findings if finding.level is preflight.Level.REFUSE]
    for finding in findings:
        if wish.force or wish.dry_run or finding not in refusals:
            tell(f"{finding.level.value}: {finding.text}")
    explanation = preflight.explain(target, program, machine.online)
    if wish.dry_run:
        return [*preflight.dry_run(program, machine.online), "", *explanation]
    if refusals and not wish.force:
        raise LocalityError(f"{refusals[0].text} (--force attaches it all the same)")
    return explanation


def _watch(
    stack: ExitStack, places: list[tuple[int, int]], machine: Topology, *, needed: bool
) -> Watch | None:
    """Watch the accepts of some sockets; None where that cannot be and need not."""
    from locality.target import inspect
    from locality.verify import watching

    targets = [inspect(*place) for place in places]
    ports = {target.listeners.get(target.fd, 0) for target in targets}
    if any(target.kind != "tcp" for target in targets) or 0 in ports:
        if needed:
            raise LocalityError("only what TCP listeners accept can be verified")
        return None
    try:
        namespaces = {Path(f"/proc/{pid}/ns/net").stat().st_ino for pid, _ in places}
        return stack.enter_context(watching(machine, ports, namespaces))
    except LocalityError:
        if needed:
            raise
        return None


def _compare(before: AcceptSummary, watch: Watch, seconds: float) -> None:
    from locality.verify import verdict

    watch.settle()
    lines, better = verdict(before, watch.count(seconds), seconds)
    show(lines)
    if not better:
        raise LocalityError("accept-local did not improve", exit_code=3)


def _take_away(
    places: list[tuple[int, int]] | None, find: Callable[[], list[FoundGroup]], means: str
) -> None:
    from locality import attach_cbpf as act
    from locality import incoming_cpu

    if means == "incoming-cpu":
        for one in _some(find()):
            incoming_cpu.apply(incoming_cpu.clearing(one))
            show([f"{one}: SO_INCOMING_CPU taken away from {len(one.group.members)} sockets"])
        return
    for pid, fd in places or [one.lender for one in _some(find())]:
        act.detach(pid, fd)
        show([act.detached_line(pid, fd)])


def _set_incoming_cpus(found: list[FoundGroup], machine: Topology, verify: float | None) -> None:
    from locality import incoming_cpu

    incoming_cpu.require_heeded()
    settings = [incoming_cpu.settings_for(one, machine.online) for one in found]
    with ExitStack() as stack:
        watch = before = None
        if verify:
            watch = _watch(stack, [one.lender for one in found], machine, needed=True)
            before = watch.count(verify) if watch else None
        for one, chosen in zip(found, settings, strict=True):
            incoming_cpu.apply(chosen)
            cpus = ", ".join(f"index {each.index}: CPU {each.cpu}" for each in chosen)
            show([f"{one}: SO_INCOMING_CPU set ({cpus})"])
        if watch and before and verify:
            _compare(before, watch, verify)


def _follow(find: Callable[[], list[FoundGroup]], plan: Plan, *, detach_on_exit: bool) -> None:
    from locality.follow import Follower, follow
    from locality.stream import interruptible

    follower = Follower(find, plan)
    with interruptible() as wait:
        follow(follower, wait, lambda line: show([line]))
        if detach_on_exit:
            show(follower.detach())
