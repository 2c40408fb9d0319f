"""What would put right each cause of connections that were not local, and how far.

A prediction is computed, not hoped for: from what each CPU was measured to receive, from
the very program that would be attached, and from the CPUs that each worker may run on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from locality import cbpf
from locality.changes.server import AffinityChange, GroupPlace, ProgramChange
from locality.errors import LocalityError
from locality.explain.causes import Cause
from locality.machine.topology import format_cpu_list
from locality.steering.capacity import at_work
from locality.steering.plan import AutoMap, LessCapacity
from locality.steering.verify import likely_rx_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from locality.changes.kernel import FileChange
    from locality.changes.protocol import Change
    from locality.explain.causes import Attribution, Share
    from locality.machine.topology import Topology
    from locality.reuseport.evidence import Worker
    from locality.reuseport.group import Group


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
        spreading: What would make the server's device give all packets of a connection to one
            CPU; none if nothing would, or if that is not ours to say.
    """

    attribution: Attribution
    shares: Sequence[Share]
    machine: Topology
    where: str
    spreading: Sequence[FileChange] = ()

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
    by_map, by_pin, more = _map(now), _pin(now), _more_workers(now)
    if by_map and by_pin and not by_map.changes:  # none may be made as the workers are now
        by_map = by_pin
    enough = by_pin is not None and by_pin.predicted > more.predicted - 0.5
    found = {
        Cause.NOT_PINNED: by_pin,
        Cause.NO_WORKER: by_pin if enough else more,
        Cause.NO_PROGRAM: by_map or by_pin,
        Cause.BLIND: by_map or by_pin,
        Cause.OUT_OF_RANGE: by_map or by_pin,
        Cause.WRONG_WORKER: by_map or by_pin,
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
        try:
            change = _program(share, share.found.group, now.machine, _receiving(share, now.machine))
        except LessCapacity as refusal:
            refused.append(str(refusal))
            predicted += share.local[True]
            continue
        except LocalityError:
            predicted += share.local[True]
            continue
        changes += [change] if change.new != change.old else []
        predicted += _expected(share.found.group, change.new, share.received, _agreement(share))
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
        receiving = _receiving(share, now.machine)
        threads = _single_threads(share)
        if threads is None or not taken.isdisjoint(one.tid for one in threads):
            return None
        taken.update(one.tid for one in threads)
        homes = _homes(share, threads, receiving, now.machine.online)
        allowed = [one.cpus for one in threads]
        if at_work([frozenset({home}) for home in homes]) < at_work(allowed):
            return None
        pins += [
            AffinityChange(one.tid, one.cpus, frozenset({home}))
            for one, home in zip(threads, homes, strict=True)
            if one.cpus != {home}
        ]
        group = _pinned(share.found.group, homes)
        try:
            change = _program(share, group, now.machine, receiving)
        except LocalityError:
            return None
        programs += [change] if change.new != change.old else []
        predicted += _expected(group, change.new, share.received, _agreement(share))
    if not pins:
        return None
    commands = [*(one.command for one in pins), *([now.attach] if programs else [])]
    lasting = "as long as the workers last; for good: worker_cpu_affinity"
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
            _expected(share.found.group, program, received, agreeing) if program else 0.0
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


def _more_workers(now: Situation) -> Remedy:
    """A worker on every RX CPU, which only the server can give."""
    predicted: float = now.elsewhere
    missing: set[int] = set()
    for share in now.shares:
        agreement = _agreement(share)
        predicted += sum(count * agreement[cpu] for cpu, count in share.received.items())
        served = frozenset[int]().union(*(member.cpus for member in share.found.group.members))
        missing |= share.received.keys() - served
    what = (
        f"# a worker on CPU {format_cpu_list(missing)} too (worker_processes, worker_cpu_affinity)"
    )
    return Remedy((what, now.attach), (), predicted)


# --- what they are made of ----------------------------------------------------------------


def _receiving(share: Share, machine: Topology) -> frozenset[int]:
    received = share.received
    return likely_rx_cpus(received.keys(), received.total(), machine.online)


def _program(
    share: Share, group: Group, machine: Topology, receiving: frozenset[int]
) -> ProgramChange:
    """The map that fits a group; LocalityError where none can be made or put back."""
    old = share.found.group
    if old.attached and old.program is None:
        raise LocalityError("the group has an eBPF program, which cannot be put back")
    program = AutoMap(machine, receiving)(group)
    return ProgramChange(GroupPlace.of(share.found), old.program, program)


def _agreement(share: Share) -> dict[int, float]:
    """By RX CPU; 1 where it is not seen, as RSS and RPS make it."""
    seen = {cpu: share.agreement(cpu) for cpu in share.received}
    return {cpu: 1.0 if part is None else part for cpu, part in seen.items()}


def _assumed(now: Situation) -> str:
    """What the prediction for a map takes for granted."""
    members = [member for share in now.shares for member in share.found.group.members]
    if any(len(member.cpus) > 1 for member in members):
        return "an estimate: workers may run on several CPUs"
    if all(share.agreement(cpu) is not None for share in now.shares for cpu in share.received):
        return ""
    return "if SYN and ACK come to one CPU, as RSS and RPS make it"


def _expected(
    group: Group,
    program: cbpf.Program,
    received: Mapping[int, float],
    agreement: Mapping[int, float],
) -> float:
    """How many connections would be local.

    Args:
        group: With the CPUs that its workers will have.
        program: What will be attached.
        received: Connections by RX CPU.
        agreement: By RX CPU, the part whose SYN was there too; the others' SYNs were on the
            other CPUs, in proportion to what those receive.
    """
    total = sum(received.values())
    local = 0.0
    for cpu, count in received.items():
        here = _chance(group, program, cpu, cpu)
        away = 0.0
        if others := total - count:
            away = sum(
                number * _chance(group, program, other, cpu)
                for other, number in received.items()
                if other != cpu
            )
            away /= others
        local += count * (agreement[cpu] * here + (1 - agreement[cpu]) * away)
    return local


def _chance(group: Group, program: cbpf.Program, syn: int, cpu: int) -> float:
    """The chance that what has its SYN on one CPU is accepted on another."""
    answer = cbpf.evaluate(program, cbpf.Packet(cpu=syn))
    members = group.members
    may_get = [members[answer]] if answer < len(members) else members
    parts = [1 / len(one.cpus) if cpu in one.cpus else 0.0 for one in may_get]
    return sum(parts) / len(parts)


def _single_threads(share: Share) -> list[Worker] | None:
    """The thread of each socket; None unless each has one, known and its own."""
    threads = [member.workers for member in share.found.group.members]
    known = [workers[0] for workers in threads if len(workers) == 1]
    tids = {worker.tid for worker in known}
    accepted = {tid for accepting in share.threads.values() for tid in accepting}
    if len(known) < len(threads) or len(tids) < len(known) or not accepted <= tids:
        return None
    return known


def _homes(
    share: Share, threads: Sequence[Worker], receiving: Iterable[int], online: Iterable[int]
) -> list[int]:
    """A CPU for each thread, of those it may run on.

    Who is pinned to one stays there: somebody wanted that. The others get the RX CPUs that are
    left, the busiest first, and then other CPUs that are free.
    """
    received = share.received
    cpus = sorted(receiving, key=lambda cpu: (-received[cpu], cpu))
    cpus += sorted(set(online).difference(cpus))
    homes = {place: min(one.cpus) for place, one in enumerate(threads) if len(one.cpus) == 1}
    for cpu in cpus:
        if cpu in homes.values():
            continue
        free = [i for i, one in enumerate(threads) if i not in homes and cpu in one.cpus]
        if free:
            homes[min(free, key=lambda place: (len(threads[place].cpus), place))] = cpu
    for place, one in enumerate(threads):  # more threads than CPUs: they share
        uses = Counter(homes.values())
        choice = [cpu for cpu in cpus if cpu in one.cpus] or sorted(one.cpus)
        homes.setdefault(place, min(choice, key=lambda cpu: uses[cpu]))
    return [homes[place] for place in range(len(threads))]


def _pinned(group: Group, homes: Sequence[int]) -> Group:
    """The group with the one worker of each socket on its CPU."""
    members = (
        replace(member, workers=(replace(member.workers[0], cpus=frozenset({home})),))
        for member, home in zip(group.members, homes, strict=True)
    )
    return replace(group, members=tuple(members))
