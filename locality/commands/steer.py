"""What `attach-cbpf` does once it is known on what. Like `locality.cli`: imports on use."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from locality.commands.output import show, tell
from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.accept.summary import AcceptSummary
    from locality.cbpf import Control, Program
    from locality.machine.topology import Topology
    from locality.reuseport.survey import FoundGroup
    from locality.reuseport.target import Target
    from locality.steering.plan import Plan
    from locality.steering.verify import Watch

AUTO = "auto"
SAMPLE_S = 1.0
"""How long to look which CPUs receive, unless told or verified."""


def some(found: list[FoundGroup]) -> list[FoundGroup]:
    """The groups, if there are any and they are of one server."""
    from locality.reuseport.survey import of_one_server

    return of_one_server(found)


@dataclass(frozen=True)
class Wish:
    """What program is asked for, and how."""

    group: int | None
    name: str
    control: Control | None
    map_: str | None
    rx_cpus: frozenset[int] | None
    verify: float | None
    dry_run: bool
    force: bool

    @property
    def build(self) -> Callable[[int], Program]:
        """Makes the program for a size of group."""
        from locality import cbpf

        if self.control is None:
            return cbpf.BUILDERS[self.name]
        return partial(cbpf.payload, control=self.control)

    @property
    def sample(self) -> float | None:
        """How long to look before acting, if at all."""
        measured = self.map_ == AUTO and self.rx_cpus is None
        return self.verify or (SAMPLE_S if measured else None)


def steer(places: list[tuple[int, int]], machine: Topology, wish: Wish) -> Plan:
    """Attach to every place what is wished for; what was planned is returned."""
    from locality import attach_cbpf as act
    from locality.reuseport.target import inspect

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


def _plan(wish: Wish, machine: Topology, before: AcceptSummary | None) -> Plan:
    from locality import cbpf
    from locality.machine.topology import format_cpu_list
    from locality.steering import plan as steering
    from locality.steering.verify import receiving_cpus

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
        return steering.fixed(wish.build(wish.group))
    return steering.by_size(wish.build)


def _look(target: Target, program: Program, machine: Topology, wish: Wish) -> list[str]:
    """What a program would do, in words; what speaks against it is said, or refuses."""
    from locality.steering import preflight

    # A program made for the size that was found claims that size; only a map claims none.
    size = wish.group or len(target.group.members) if wish.map_ is None else None
    findings = preflight.decide(target, program, size, machine.online)
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
    from locality.reuseport.target import inspect
    from locality.steering.verify import watching

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
    from locality.steering.verify import verdict

    watch.settle()
    lines, better = verdict(before, watch.count(seconds), seconds)
    show(lines)
    if not better:
        raise LocalityError("accept-local did not improve", exit_code=3)


def unsteer(
    places: list[tuple[int, int]] | None, find: Callable[[], list[FoundGroup]], means: str
) -> None:
    """Take away what steers, from these places or else from the groups found."""
    from locality import attach_cbpf as act
    from locality.steering import incoming_cpu

    if means == "incoming-cpu":
        for one in some(find()):
            incoming_cpu.apply(incoming_cpu.clearing(one))
            show([f"{one}: SO_INCOMING_CPU taken away from {len(one.group.members)} sockets"])
        return
    for pid, fd in places or [one.holder for one in some(find())]:
        act.detach(pid, fd)
        show([act.detached_line(pid, fd)])


def set_incoming_cpus(found: list[FoundGroup], machine: Topology, verify: float | None) -> None:
    """Set SO_INCOMING_CPU of each socket to its worker's CPU."""
    from locality.steering import incoming_cpu

    incoming_cpu.require_heeded()
    settings = [incoming_cpu.settings_for(one, machine.online) for one in found]
    with ExitStack() as stack:
        watch = before = None
        if verify:
            watch = _watch(stack, [one.holder for one in found], machine, needed=True)
            before = watch.count(verify) if watch else None
        for one, chosen in zip(found, settings, strict=True):
            incoming_cpu.apply(chosen)
            cpus = ", ".join(f"index {each.index}: CPU {each.cpu}" for each in chosen)
            show([f"{one}: SO_INCOMING_CPU set ({cpus})"])
        if watch and before and verify:
            _compare(before, watch, verify)


def follow_groups(
    find: Callable[[], list[FoundGroup]], plan: Plan, *, detach_on_exit: bool
) -> None:
    """Keep the groups on their programs until a signal asks to end."""
    from locality.steering.follow import Follower, follow
    from locality.stream import interruptible

    follower = Follower(find, plan)
    with interruptible() as wait:
        follow(follower, wait, lambda line: show([line]))
        if detach_on_exit:
            show(follower.detach())
