"""What attach-cbpf does with a request that fits together. Like `locality.cli`: imports on use."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from locality.commands.before_after import Before, compare_with, count_before
from locality.commands.console import CONSOLE
from locality.commands.lines import show, tell
from locality.commands.steering_end import saying_if_interrupted, stays
from locality.commands.steering_groups import (
    change_each,
    find_groups,
    groups_of_one_server,
    in_namespace_of,
    of_request,
)
from locality.commands.steering_incoming import clear_incoming_cpus, set_incoming_cpus
from locality.commands.steering_plans import make_plans
from locality.commands.steering_request import AUTO, INCOMING_CPU, Request
from locality.commands.take_back import take_back
from locality.errors import LocalityError
from locality.machine.namespaces import own_network_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.cbpf import Program
    from locality.commands.steering_plans import Plans, Sockets
    from locality.machine.topology import Topology
    from locality.reuseport.survey import FoundGroup
    from locality.reuseport.target import Target
    from locality.spill.table import Table
    from locality.steering.follow import Follower


def steer(request: Request) -> None:
    """Do what was asked for.

    Raises:
        LocalityError: What kept it from being done, or that it improved nothing.
        UsageError: A CPU of --rx-cpus is not online.
    """
    if request.detach and request.means == INCOMING_CPU:
        clear_incoming_cpus(request)
    elif request.detach:
        detach_programs(request)
    elif request.means == INCOMING_CPU:
        set_incoming_cpus(request, _machine(request))
    else:
        attach_programs(request, _machine(request))


def _machine(request: Request) -> Topology:
    """This machine, which has the CPUs that were named."""
    from locality.machine import topology

    machine = topology.read()
    if request.rx_cpus and not request.rx_cpus <= set(machine.online):
        online = topology.format_cpu_list(machine.online)
        raise click.UsageError(f"--rx-cpus: the online CPUs are {online}")
    return machine


# --- programs ---------------------------------------------------------------------------


def attach_programs(request: Request, machine: Topology) -> None:
    """Attach a program to each group; with --follow, keep it there."""
    if request.socket:
        attach_to([request.socket], request, machine)
        return
    groups = find_groups(request, served=False)
    if groups or not request.follow:  # who follows may wait for a server to start
        groups = of_request(request, groups)
    request = in_namespace_of(request, groups)
    meant = frozenset[int]().union(*(group.inodes for group in groups))
    plans, without = attach_to([group.holder for group in groups], request, machine, meant)
    if request.follow and not request.dry_run:
        netns = request.netns or own_network_namespace()
        follower = follow_groups(replace(request, netns=netns), plans)
        without = min(without, follower.in_trouble)  # it tries again what was refused
        if follower.has_attached and not request.detach_on_exit:
            tell(stays(request))
    if without:
        raise LocalityError(f"{without} of {len(groups)} groups got no program: see above")


def attach_to(
    sockets: Sockets, request: Request, machine: Topology, meant: frozenset[int] = frozenset()
) -> tuple[Plans, int]:
    """Attach a program to the group of each socket.

    Where one group refuses its program, the others get theirs all the same, and what that did is
    verified.

    Args:
        sockets: One of each group.
        request: What was asked for.
        machine: The CPUs.
        meant: The inodes of all sockets that may be meant; any if empty.

    Returns:
        The plans that the programs came from, and how many of several groups got none.

    Raises:
        LocalityError: The only group got none; or what was attached improved nothing.
    """
    from locality.reuseport.evidence import LOOK_S, Seen
    from locality.reuseport.target import inspect_all

    with ExitStack() as stack:
        with saying_if_interrupted("nothing was changed"):
            before: list[Before] = []
            if request.sample_s and sockets:
                verify = request.verify is not None
                before = count_before(stack, sockets, machine, request.sample_s, needed=verify)
            plans = make_plans(request, machine, before)
            seen = Seen()
            for one in before:
                seen.add(one.watch.seen)
            targets = inspect_all(sockets, seen, LOOK_S, meant)
            programs = [plans[target.kind](target.group) for target in targets]
            refused = _preflight(targets, programs, machine, request)
            explanations = [
                _explanation(target, program, machine, request)
                for target, program in zip(targets, programs, strict=True)
            ]
            if request.dry_run or request.table == AUTO:  # made here: shown before it acts
                show([line for lines in explanations for line in lines])
        if refused:
            raise LocalityError(refused)
        if request.dry_run:
            return plans, 0
        attached = _attach_each(targets, programs, explanations, request)
        changed = _of(before, [target for target, _ in attached])
        if changed and request.verify:
            waits, kept = request.spill is not None, stays(request)
            with saying_if_interrupted(kept):
                back = partial(take_back, attached)
                compare_with(changed, request.verify, back, waits=waits, kept=kept)
        if attached and not request.follow:
            tell(stays(request))
    return plans, len(targets) - len(attached)


def _attach_each(
    targets: list[Target],
    programs: Sequence[Program | Table],
    explanations: list[list[str]],
    request: Request,
) -> list[tuple[Target, Program | Table]]:
    """Attach each group's program, and return the targets that took it, each with the program.

    Raises:
        LocalityError: The only group refused.
    """
    attached = []
    for target, program, lines in zip(targets, programs, explanations, strict=True):
        try:
            _attach(target, program, request)
        except LocalityError as error:
            if len(targets) == 1:
                raise
            CONSOLE.complain(f"{target.kind} {target.address}: got no program: {error}")
            continue
        attached.append((target, program))
        show(lines if request.table != AUTO else [])
    return attached


def _of(before: list[Before], attached: list[Target]) -> list[Before]:
    """What was counted of the protocols of which a group was changed."""
    protocols = {target.kind for target in attached}
    return [one for one in before if one.protocol in protocols]


def _preflight(
    targets: list[Target],
    programs: Sequence[Program | Table],
    machine: Topology,
    request: Request,
) -> str:
    """Say what speaks against it.

    Returns:
        Why --dry-run ends with an error: the programs would be refused. Empty if they would not.

    Raises:
        LocalityError: They are refused.
    """
    from locality.spill.table import Table
    from locality.steering import preflight, spill_checks

    groups: dict[preflight.Finding, list[str]] = {}
    for target, program in zip(targets, programs, strict=True):
        if isinstance(program, Table):
            findings = spill_checks.decide(target, program, machine.online)
        else:
            # A program made for the size that was found claims that size; only a map claims none.
            size = None
            if request.table is None:
                size = request.group or len(target.group.members)
            findings = preflight.decide(target, program, size, machine.online)
        for finding in findings:
            groups.setdefault(finding, []).append(target.address)
    refusals = [finding for finding in groups if finding.level is preflight.Level.REFUSE]
    why = ""
    for finding, addresses in groups.items():
        text = preflight.in_groups(finding, addresses, len(targets))
        if finding in refusals[:1] and not request.force:
            why = f"{text} (--force attaches it anyway)"
        elif request.force or request.dry_run or finding not in refusals:
            tell(f"{finding.level.value}: {text}")
    if why and not request.dry_run:
        raise LocalityError(why)
    return why and f"refused: {why}"


def _explanation(
    target: Target, program: Program | Table, machine: Topology, request: Request
) -> list[str]:
    """What a program would do, and with --dry-run the program itself."""
    from locality.spill.table import Table
    from locality.steering import preflight, spill_checks

    if isinstance(program, Table):
        lines = spill_checks.explain(target, program, machine.online)
        if request.dry_run:
            shown = spill_checks.dry_run(target, program, machine.online, request.queues)
            lines = [*shown, "", *lines]
        return lines
    lines = preflight.explain(target, program, machine.online)
    if request.spill is not None and target.kind == "udp":
        lines.append(f"{spill_checks.UDP}; a map alone is attached")
    if request.dry_run:
        lines = [*preflight.dry_run(program, machine.online), "", *lines]
    return lines


def _attach(target: Target, program: Program | Table, request: Request) -> None:
    from locality import attach_cbpf
    from locality.spill.table import Table
    from locality.steering import attachment

    left_out = attachment.attach(target.pid, target.fd, program, (target.inode,))
    size = len(target.group.members) if request.group is None else request.group
    option = "EBPF" if isinstance(program, Table) else "CBPF"
    show([attach_cbpf.attached_line(target.pid, target.fd, size, option)])
    for why in left_out.values():
        tell(f"{target.address}: {why}; only the hash selects it")


def detach_programs(request: Request) -> None:
    """Take the program away from the named socket's group, or from each group found."""
    from locality import attach_cbpf
    from locality.reuseport.target import identify
    from locality.steering import attachment

    if request.socket:
        (target,) = identify([request.socket])
        if not request.force:
            attachment.require_ours(target.group, "detaches")
        attachment.detach(*request.socket, (target.inode,))
        show([attach_cbpf.detached_line(*request.socket)])
        return

    def detach(group: FoundGroup) -> str:
        if not request.force:
            attachment.require_ours(group.group, "detaches")
        attachment.detach(*group.holder, group.inodes)
        return attach_cbpf.detached_line(*group.holder)

    change_each(groups_of_one_server(request), detach)


def follow_groups(request: Request, plans: Plans) -> Follower:
    """Keep the groups on their programs until a signal asks to end; what kept them there."""
    import signal

    from locality.accept.source import AcceptSource, Filter
    from locality.reuseport.changes import Changes
    from locality.reuseport.look import accepted_by
    from locality.steering import attachment
    from locality.steering.follow import Follower, follow
    from locality.stream import ending_as, interruptible

    def plan(one: FoundGroup) -> Program | Table:
        if not request.force:
            attachment.require_ours(one.group, "replaces")
        return plans[one.protocol](one.group)

    follower = Follower(partial(find_groups, request), plan)
    with ExitStack() as stack:
        wait = stack.enter_context(interruptible())
        if request.detach_on_exit:
            stack.enter_context(ending_as(signal.SIGTERM, signal.SIGHUP))
        try:
            with suppress(LocalityError):  # then /proc alone tells who serves
                source = stack.enter_context(AcceptSource(Filter(ports=(request.port or 0,))))
                follower.accepted = lambda: accepted_by(source.read().records)
            with suppress(LocalityError):  # then each look is a close one
                follower.changes = Changes([request.port or 0], request.netns or 0)
            follow(follower, wait, lambda line: show([line]))
        finally:
            if request.detach_on_exit:
                # All of it before a line is printed: nobody may be reading any more.
                show([*follower.detach()])
    return follower
