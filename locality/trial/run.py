"""One trial from its beginning to its end: look, plan, A/A, the trial itself, and what is kept."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from locality import __version__
from locality.changes import undo_file
from locality.changes.system import this_system
from locality.changes.undo import apply
from locality.errors import LocalityError
from locality.machine import topology
from locality.machine.topology import format_cpu_list
from locality.spill.bound import choose
from locality.steering.plan import SpillTable, fixed_bound
from locality.stream import interruptible
from locality.text import printable
from locality.trial.by_blocks import ByBlocks
from locality.trial.by_connection import ByConnection, plan_lines
from locality.trial.counters import Counters
from locality.trial.effects import Verdict, effects
from locality.trial.guard import Guard
from locality.trial.look import look_at
from locality.trial.observation import PROBE
from locality.trial.restoring import Restoration
from locality.trial.safety import Safety
from locality.trial.session import Session
from locality.trial.switches import ATTACH, RPS, SPILL, AttachSwitch, CommandSwitch, rps_of
from locality.trial.targets import find_target, steer
from locality.trial.traffic import watching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.changes.protocol import Change
    from locality.reuseport.group import Group
    from locality.steering.plan import Plan
    from locality.trial.asked import Asked, Reporter
    from locality.trial.observation import Trial
    from locality.trial.programs import Command
    from locality.trial.switches import Switch
    from locality.trial.targets import Steered


_NAMES = {ATTACH: "nearest worker", SPILL: "nearest worker, spilling above a bound"}


@dataclass(frozen=True)
class Switched:
    """What a trial by blocks switches, as it was asked for.

    Attributes:
        what: ``attach``, ``spill``, ``rps:DEV``, or empty for commands.
        bound: For ``spill``: so many connections may wait for a worker; None to measure it.
        commands: Of A and B, for commands.
    """

    what: str = ""
    bound: int | None = None
    commands: tuple[Command, Command] | None = None


def run(asked: Asked, switched: Switched | None, reporter: Reporter, *, dry: bool) -> Trial | None:
    """Run a trial to its end.

    Args:
        asked: What is asked for.
        switched: What is switched by blocks; None for a trial by connection.
        reporter: Is told where it is, and the plan.
        dry: Change nothing: only look, and tell the plan.

    Returns:
        The trial; None if it was only planned.

    Raises:
        LocalityError: There is nothing to try, no traffic, no place for the undo file, or a change
            was refused.
        KeyboardInterrupt: A signal came before the trial began.
    """
    machine = topology.read()
    target = find_target(asked.port, asked.netns)
    if not dry and (switched is None or not switched.commands):
        undo_file.require_place(asked.undo_file)
    with interruptible() as wait, watching(target, wait) as traffic:
        reporter.say(f"looking at {target}: nothing is changed yet")
        guard = Guard(asked.bounds, len(target.inodes))
        safety = Safety(guard, Counters(target.holders), target)
        look = look_at(traffic, target, machine, safety)
        session = Session(traffic, look, machine, asked, reporter, safety)
        steered: Sequence[Steered] = []
        if switched is None or switched.what in {ATTACH, SPILL}:
            plan_ = _spilling(session, switched) if switched and switched.what == SPILL else None
            steered = steer(look.target, machine, look.receiving, plan_)
        trying: ByConnection | ByBlocks
        if switched is None:
            trying = ByConnection(session, steered)
            plan = plan_lines(steered, asked)
        else:
            switch = _switch(switched, steered)
            trying = ByBlocks(session, switch)
            plan = trying.plan_lines()
        for line in [*plan, *_common_lines(session)]:
            reporter.say(line)
        if dry:
            reporter.say("nothing was changed: this was a dry run")
            return None
        trial = trying.run()
        for name, text in trial.facts.items():
            reporter.say(f"{name}: {text}")
        trial = replace(trial, facts={**_facts(session, steered), **trial.facts})
        if asked.keep_better and (reason := why_not_kept(trial)):
            reporter.say(f"arm B is not kept: {reason}")
        elif asked.keep_better:
            changes = [*switch.changes] if switched else _nearest(steered)
            trial = _keep(trial, trying, changes, asked, reporter)
        return trial


def _switch(switched: Switched, steered: Sequence[Steered]) -> Switch:
    if switched.what in {ATTACH, SPILL}:
        return AttachSwitch(steered, name=_NAMES[switched.what])
    if switched.commands:
        return CommandSwitch(*switched.commands)
    return rps_of(switched.what.removeprefix(RPS))


def _spilling(session: Session, switched: Switched) -> Plan:
    """The plan of a program that spills; says which bound was chosen, where none was given.

    Raises:
        Unsupported: This kernel does not take the program, or this process may not load it.
    """
    from locality.spill import program  # noqa: PLC0415 - loads libbpf

    program.require()
    look = session.look

    def measured(own: Mapping[int, int], group: Group) -> int:
        limits = [one.backlog_limit for one in group.members if one.backlog_limit is not None]
        found = choose(look.waits.arrivals, own, len(group.members), limits)
        session.reporter.say(f"spill {found.connections}: {found.why}")
        return found.connections

    bound = measured if switched.bound is None else fixed_bound(switched.bound)
    return SpillTable(session.machine, look.receiving, bound)


def _common_lines(session: Session) -> list[str]:
    asked, traffic = session.asked, session.traffic
    receiving = format_cpu_list(session.look.receiving)
    undo = f"{asked.undo_file}, removed when everything is back"
    kept = "; arm B stays if it is better" if asked.keep_better else ""
    seen = f"{session.look.accepted} connections in {session.look.seconds:g} s"
    return [
        f"{seen}, received on CPUs {receiving}; rung {traffic.accepts.attachment.rung.name}",
        f"seed {asked.seed}; undo file {undo}{kept}",
        f"stops and restores at {asked.bounds.words}",
    ]


def _facts(session: Session, steered: Sequence[Steered]) -> Mapping[str, str]:
    """What else must be known to repeat it."""
    look, machine = session.look, session.machine
    asked = session.asked
    facts = {
        "host": platform.node(),
        "kernel": platform.release(),
        "tool": __version__,
        "CPUs": format_cpu_list(machine.online),
        "RX CPUs": format_cpu_list(look.receiving),
        "server": printable(look.target.server),
        "connections before": look.lifetimes.sentence,
        "accepted a second before": f"{look.accepted / look.seconds:.1f}",
        PROBE: session.traffic.accepts.attachment.rung.name,
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
    for one in steered:
        facts[f"map of {one.group}"] = one.describe(one.tried)
        facts[f"program of {one.group} before"] = one.describe(one.before)
    if asked.metrics:
        facts |= {f"metric {metric.name}": metric.command.text for metric in asked.metrics}
    return facts


def why_not_kept(trial: Trial) -> str:
    """Why arm B must not stay; empty if the primary outcome is better and none is worse."""
    if trial.harm or trial.ended_early:
        return "the trial ended early"
    if not trial.restored:
        return "not everything was put back"
    found = effects(trial)
    for effect in found:
        if effect.outcome.primary and effect.verdict is not Verdict.BETTER:
            return f"{effect.outcome.label}: {effect.verdict.value}"
    worse = [effect.outcome.label for effect in found if effect.verdict is Verdict.WORSE]
    return f"worse in {', '.join(worse)}" if worse else ""


def _nearest(steered: Sequence[Steered]) -> list[Change]:
    return [one.change_to(one.nearest) for one in steered]


def _keep(
    trial: Trial,
    trying: ByConnection | ByBlocks,
    changes: Sequence[Change],
    asked: Asked,
    reporter: Reporter,
) -> Trial:
    """Leave arm B in place."""
    arm = trial.design.arms[1]
    try:
        if changes:
            if failed := apply(changes, asked.undo_file, this_system()):
                return _not_kept(trial, failed, asked, reporter)
            reporter.say(f"kept: {arm}; to revert: {undo_file.undo_command(asked.undo_file)}")
        elif isinstance(trying, ByBlocks):
            if not trying.keep():
                return trial
            reporter.say(f"kept: {arm}")
    except LocalityError as error:
        reporter.say(f"not kept: {error}")
        # Of changes none was made; of commands the one that would take B's back has failed.
        return trial if changes else replace(trial, restored=False)
    return replace(trial, kept=arm, restored=False)


def _not_kept(trial: Trial, failed: Sequence[str], asked: Asked, reporter: Reporter) -> Trial:
    """Put back the part of arm B that could be made: half of it was not tried."""
    for failure in failed:
        reporter.say(f"not changed: {failure}")
    restoration = Restoration(asked.undo_file)
    restoration.restore()
    for line in restoration.lines():
        reporter.say(line)
    if restoration.is_as_before:
        reporter.say("not kept: not all of it could be done, so everything was put back")
    return replace(trial, restored=restoration.is_as_before)
