"""What would put right each cause of what was not local, and how far.

A prediction is computed, not hoped for: from what each CPU was measured to receive, from
the very program that would be attached, and from the CPUs that each worker may run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.changes.server import AffinityChange, GroupPlace, ProgramChange
from locality.errors import LocalityError
from locality.explain.causes import Cause
from locality.explain.pins import homes_for, pinned_to, thread_of_each
from locality.explain.prediction import agreement_of, expected_local, receiving_cpus
from locality.machine.topology import format_cpu_list
from locality.reuseport.servers import UNKNOWN, Server
from locality.steering.attachment import by_cpu, describe_present, present
from locality.steering.capacity import at_work
from locality.steering.plan import AutoMap, LessCapacity, Plan, SpillTable, fixed_bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.cbpf import Program
    from locality.changes.kernel import FileChange
    from locality.changes.protocol import Change
    from locality.explain.causes import Attribution, Share
    from locality.machine.topology import Topology
    from locality.reuseport.group import Group
    from locality.spill.table import Table


WORTH_IT = 0.02
"""What pinning one thread of one socket must gain, as a part of all, to be proposed."""


@dataclass(frozen=True)
class Remedy:
    """What puts a cause right.

    Attributes:
        commands: What to run, lines for a shell; a comment where no command does it.
        changes: The same as changes that can be taken back; empty where it is left to the user.
        predicted: Connections of those measured that would have been local.
        note: What the prediction, or the remedy, takes for granted.
    """

    commands: tuple[str, ...]
    changes: tuple[Change, ...]
    predicted: float
    note: str = ""


@dataclass(frozen=True)
class Situation:
    """What remedies are made from.

    Attributes:
        attribution: The causes.
        shares: What each group accepted.
        machine: Its CPUs.
        where: The options of attach-cbpf that name the groups.
        server: What the server calls its settings.
        spreading: What would make the server's device give all packets of a connection to one
            CPU; none if nothing would, or if that is not ours to say.
    """

    attribution: Attribution
    shares: Sequence[Share]
    machine: Topology
    where: str
    spreading: Sequence[FileChange] = ()
    server: Server = UNKNOWN

    @property
    def elsewhere(self) -> int:
        """The local connections of sockets in no group: they stay as they are."""
        return self.attribution.local - sum(share.local[True] for share in self.shares)

    @property
    def attach(self) -> str:
        """The command that attaches the nearest-worker map."""
        return f"locality attach-cbpf {self.where} --map auto"


def remedies(now: Situation) -> dict[Cause, Remedy]:
    """The remedy for each cause there is, where there is one."""
    by_map, by_pin, more, own = _map(now), _pin(now), _more_workers(now), _own_sockets(now)
    if by_map and by_pin and not by_map.changes:  # none may be made as the workers are now
        by_map = by_pin
    if any(not share.found.shares for share in now.shares):
        # What one thread on one CPU can do is less than what a thread on each CPU can.
        more = own
        if by_pin and by_pin.predicted <= now.attribution.local + WORTH_IT * now.attribution.total:
            by_pin = own
    enough = by_pin is not None and by_pin.predicted > more.predicted - 0.5
    found = {
        Cause.NOT_PINNED: by_pin,
        Cause.ONE_LISTENER: own,
        Cause.SHARED: own,
        Cause.MOVES: own,
        Cause.NO_WORKER: by_pin if enough else more,
        Cause.NO_PROGRAM: by_map or by_pin,
        Cause.BLIND: by_map or by_pin,
        Cause.OUT_OF_RANGE: by_map or by_pin,
        Cause.WRONG_WORKER: by_map or by_pin,
        Cause.SPILLED: _no_spill(now),
        Cause.SYN_ELSEWHERE: _spread(now),
    }
    causes = now.attribution.causes
    return {cause: remedy for cause, remedy in found.items() if remedy and causes[cause]}


def best(now: Situation, found: Mapping[Cause, Remedy]) -> Remedy | None:
    """The remedy to apply: the highest prediction, then the fewest changes.

    None if no remedy can be applied, or none promises more than is local already.
    """
    everything = [*found.values(), *filter(None, [_map(now)])]
    better = [one for one in everything if one.changes and one.predicted > now.attribution.local]
    return max(better, key=lambda one: (one.predicted, -len(one.changes)), default=None)


# --- the remedies -----------------------------------------------------------------------


def _map(now: Situation) -> Remedy | None:
    """Attach the nearest-worker map to every group it can be made for.

    None where there is nothing to change; no changes, and the reason, where none may be made.
    """
    changes: list[Change] = []
    refused: list[str] = []
    predicted: float = now.elsewhere
    for share in now.shares:
        if _is_served_by_several(share):
            predicted += share.local[True]
            continue
        try:
            change = _program(
                share, share.found.group, now.machine, receiving_cpus(share, now.machine)
            )
        except LessCapacity as refusal:
            refused.append(str(refusal))
            predicted += share.local[True]
            continue
        except LocalityError:
            predicted += share.local[True]
            continue
        if change.new == change.old:
            predicted += share.local[True] if share.found.group.spill else _expected(share, change)
            continue
        changes.append(change)
        predicted += _expected(share, change)
    if changes:
        return Remedy((now.attach,), tuple(changes), predicted, _assumed(now))
    reasons = tuple(f"# {reason}" for reason in dict.fromkeys(refused))
    return Remedy(reasons, (), now.attribution.local) if reasons else None


def _pin(now: Situation) -> Remedy | None:
    """Pin every worker that is not pinned to a CPU, and attach the map that then fits.

    None where a worker is not known, or a socket or a thread has not just one of the other;
    where fewer CPUs would be at work than now; or where nothing is left to pin.
    """
    pins: list[Change] = []
    programs: list[Change] = []
    predicted: float = now.elsewhere
    taken = set[int]()
    for share in now.shares:
        receiving = receiving_cpus(share, now.machine)
        threads = thread_of_each(share)
        if threads is None or not taken.isdisjoint(one.tid for one in threads):
            return None
        taken.update(one.tid for one in threads)
        homes = homes_for(share, threads, receiving, now.machine.online)
        allowed = [one.cpus for one in threads]
        if at_work([frozenset({home}) for home in homes]) < at_work(allowed):
            return None
        pins += [
            AffinityChange(one.tid, one.cpus, frozenset({home}))
            for one, home in zip(threads, homes, strict=True)
            if one.cpus != {home}
        ]
        group = pinned_to(share.found.group, homes)
        if not share.found.shares:  # it takes no program
            predicted += share.received[homes[0]]
            continue
        try:
            change = _program(share, group, now.machine, receiving)
        except LocalityError:
            return None
        programs += [change] if change.new != change.old else []
        predicted += _expected(share, change, group)
    if not pins:
        return None
    commands = [*(one.command for one in pins), *([now.attach] if programs else [])]
    lasting = f"as long as the workers last; for good: {now.server.pins}"
    return Remedy(tuple(commands), (*pins, *programs), predicted, lasting)


def _spread(now: Situation) -> Remedy:
    """Let the server's device spread packets by flow, with the map for the CPUs it uses."""
    changes: list[Change] = list(now.spreading)
    cpus = now.machine.online
    predicted: float = now.elsewhere
    for share in now.shares:
        even = dict.fromkeys(cpus, share.received.total() / len(cpus))
        received = even if now.spreading else share.received
        try:
            change = _program(share, share.found.group, now.machine, frozenset(received))
        except LocalityError:
            predicted += share.local[True]
            continue
        agreeing = dict.fromkeys(received, 1.0)
        to_be, as_is = (
            _under(program, share.found.group, received, agreeing)
            for program in (change.new, change.old)
        )
        if as_is < to_be:
            changes.append(change)
        predicted += to_be
    if not now.spreading:
        advice = "# the server's device shall spread packets by flow, by RSS or RPS"
        where = "locality doctor  # in the server's network namespace"
        return Remedy((advice, where), (), predicted)
    programs = [now.attach] if len(changes) > len(now.spreading) else []
    commands = (*(one.command for one in now.spreading), *programs)
    return Remedy(commands, tuple(changes), predicted, "CPUs then receive alike")


def _no_spill(now: Situation) -> Remedy:
    """A map alone, which keeps the queue long."""
    predicted: float = now.elsewhere
    for share in now.shares:
        group = share.found.group
        predicted += _under(group.by_cpu, group, share.received, agreement_of(share))
    commands = (
        "# let packets be spread evenly over the RX CPUs (locality doctor); or have them local",
        f"# without regard to the queues: {now.attach}",
    )
    return Remedy(commands, (), predicted, "the long queue then gets longer")


def _more_workers(now: Situation) -> Remedy:
    """A worker on every RX CPU, which only the server can give."""
    missing: set[int] = set()
    for share in now.shares:
        served = frozenset[int]().union(*(member.cpus for member in share.found.group.members))
        missing |= share.received.keys() - served
    what = (
        f"# a worker on CPU {format_cpu_list(missing)} too ({now.server.workers}; "
        f"{now.server.pins})"
    )
    return Remedy((what, now.attach), (), _with_a_worker_everywhere(now))


def _own_sockets(now: Situation) -> Remedy:
    """A socket for each worker, which only the server can give, and then the map."""
    commands = (
        f"# give each worker a socket of its own ({now.server.own}),",
        f"# pin each to a CPU ({now.server.pins}), then:",
        now.attach,
    )
    note = "with a worker on each CPU that receives"
    return Remedy(commands, (), _with_a_worker_everywhere(now), note)


# --- what they are made of ----------------------------------------------------------------


def _with_a_worker_everywhere(now: Situation) -> float:
    """How many connections would be local with a worker, and its socket, on each RX CPU."""
    predicted: float = now.elsewhere
    for share in now.shares:
        agreement = agreement_of(share)
        predicted += sum(count * agreement[cpu] for cpu, count in share.received.items())
    return predicted


def _expected(share: Share, change: ProgramChange, group: Group | None = None) -> float:
    """How many connections of a group would be local with a new program, while queues are short.

    Args:
        share: What it accepted.
        change: With the program.
        group: With the CPUs that its workers will have; as they are if None.
    """
    group = group or share.found.group
    program = by_cpu(change.new, group)
    if program is None:
        return 0.0
    return expected_local(group, program, share.received, agreement_of(share))


def _under(
    program: Program | Table | None,
    group: Group,
    received: Mapping[int, float],
    agreement: Mapping[int, float],
) -> float:
    """How many connections are local under a program; see `expected_local`.

    None are taken to be where there is no program, or where its answers cannot be computed.
    """
    usual = None if program is None else by_cpu(program, group)
    if usual is None:
        return 0.0
    try:
        return expected_local(group, usual, received, agreement)
    except LocalityError:  # an instruction that is not evaluated
        return 0.0


def _program(
    share: Share, group: Group, machine: Topology, receiving: frozenset[int]
) -> ProgramChange:
    """The map that fits a group; LocalityError where none can be made or put back."""
    old = share.found.group
    if not share.found.shares:
        raise LocalityError("a socket without SO_REUSEPORT takes no program")
    if old.incoming_doubt:  # what a map would gain depends on it
        raise LocalityError(f"whether SO_INCOMING_CPU selects is not known: {old.incoming_doubt}")
    if old.is_opaque:
        raise LocalityError(f"the group has {describe_present(old)}, which cannot be put back")
    plan: Plan = AutoMap(machine, receiving)
    if old.spill is not None and old.spill.table is not None:
        plan = SpillTable(machine, receiving, fixed_bound(old.spill.table.bound))
    return ProgramChange(GroupPlace.of(share.found), present(old), plan(group))


def _assumed(now: Situation) -> str:
    """What the prediction for a map takes for granted."""
    members = [member for share in now.shares for member in share.found.group.members]
    if any(len(member.cpus) > 1 for member in members):
        return "an estimate: workers may run on several CPUs"
    if all(share.found.protocol == "udp" for share in now.shares):
        return ""  # the program runs on the very CPU that processes the datagram
    if all(share.agreement(cpu) is not None for share in now.shares for cpu in share.received):
        return ""
    return "if SYN and ACK come to one CPU, as RSS and RPS make it"


def _is_served_by_several(share: Share) -> bool:
    """Whether a socket has several threads, of which no program can choose one."""
    return any(len(member.workers) > 1 for member in share.found.group.members)
