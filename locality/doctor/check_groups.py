"""Reuseport groups: whether what a CPU receives can reach, and reaches, a worker on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from locality import cbpf
from locality.cbpf.describe import describe, option_for
from locality.doctor import alike, check_listeners, check_spill, placement
from locality.doctor.findings import Finding, Level
from locality.doctor.values import Unread, Value
from locality.errors import LocalityError
from locality.machine.topology import format_cpu_list
from locality.reuseport.servers import server_of
from locality.steering.attachment import describe_present
from locality.steering.capacity import at_work
from locality.steering.plan import unknown, unpinned
from locality.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from locality.doctor.facts import Machine
    from locality.reuseport.evidence import Worker
    from locality.reuseport.group import Group
    from locality.reuseport.survey import FoundGroup


def rx_cpus(machine: Machine) -> tuple[int, ...]:
    """The CPUs that process packets: those of each queue's RPS mask, or of its interrupt.

    Where that is not known of a card, any CPU may, other than those that are isolated.
    """
    cpus: set[int] = set()
    for device in machine.devices:
        if not device.down and not device.takes_over:
            known = device.rx_cpus(machine.online)
            cpus.update(machine.housekeeping if device.real and not known else known)
    return tuple(sorted(cpus & set(machine.online))) or machine.housekeeping


def groups(machine: Machine, found: Iterable[FoundGroup]) -> Iterator[Finding | Unread]:
    """Judge every group, and every socket without SO_REUSEPORT.

    Groups of one port share a finding that they all have.
    """
    pins: dict[int, int] = {}
    everything = list(found)
    judged: list[tuple[FoundGroup, Finding | Unread]] = [
        (one, answer) for one in everything if one.shares for answer in _judge(machine, one, pins)
    ]
    alone = [one for one in everything if not one.shares]
    return alike.together([*judged, *check_listeners.shared_listeners(alone)])


def _judge(machine: Machine, one: FoundGroup, pins: dict[int, int]) -> Iterator[Finding | Unread]:
    loopback = one.address.startswith(("127.", "[::1]"))
    cpus = machine.online if loopback else rx_cpus(machine)
    read = (Value(f"group {one}", _in_words(one.group)),)
    yield from _workers(one, cpus, machine.online, read, pins)
    for answer in _choice(one, cpus, read):
        if not isinstance(answer, Finding):
            yield answer
        elif answer.level is Level.OK:
            yield _in_vain(one, cpus, read) or answer
        else:
            yield _after_workers(answer, one, machine.online)
    if not loopback:
        yield from _nodes(one, machine, read)


def _workers(
    one: FoundGroup,
    cpus: Collection[int],
    online: Collection[int],
    read: tuple[Value, ...],
    pins: dict[int, int],
) -> Iterator[Finding | Unread]:
    """Whether each socket is served on one CPU, and on CPUs that receive."""
    subject, members = f"{one} workers", one.group.members
    serving = _serving(one)
    if hidden := unknown(one.group):
        yield Unread(subject, f"who serves {len(hidden)} of {len(members)} is not known")
    if not serving or len(online) == 1:
        return
    roaming = _roaming(one, cpus)
    shared = [i for i in unpinned(one.group, online) if len(members[i].workers) > 1]
    served = frozenset().union(*(worker.cpus for worker in serving))
    idle = set(cpus) - served
    server = server_of(serving[0].pid)
    if roaming:
        moves = _pins(one.group, roaming, cpus, online, pins)
        yield Finding(
            Level.COSTS,
            subject,
            f"{len(roaming)} of {len(serving)} may run on several of the CPUs that receive "
            f"({format_cpu_list(cpus)})",
            "The scheduler moves a worker about, so no choice of worker can be a choice of CPU.",
            read,
            by_hand=tuple(f"taskset -pc {cpu} {worker.tid}" for worker, cpu in moves),
            by_hand_undo=tuple(
                f"taskset -pc {format_cpu_list(worker.cpus)} {worker.tid}" for worker, _ in moves
            ),
            not_applied="it lasts until the server is restarted: tell the server instead "
            f"({server.pins})",
        )
    elif shared:
        yield Finding(
            Level.COSTS,
            subject,
            f"several threads serve index {format_cpu_list(shared)} on several CPUs",
            "Whichever of them wakes first accepts, so no choice of socket is a choice of CPU: "
            f"each thread needs a socket of its own ({server.own}).",
            read,
        )
    elif idle:
        yield Finding(
            Level.MAY,
            subject,
            f"on CPUs {format_cpu_list(served)}, but CPUs {format_cpu_list(idle)} receive too",
            "What those CPUs receive can at best go to a worker nearby.",
            read,
        )
    else:
        what = f"on CPUs {format_cpu_list(served)}; CPUs {format_cpu_list(cpus)} receive"
        yield Finding(Level.OK, subject, what, read=read)


def _serving(one: FoundGroup) -> list[Worker]:
    """The threads that serve a group, each once: one thread may serve several sockets."""
    workers = (worker for member in one.group.members for worker in member.workers)
    return list({worker.tid: worker for worker in workers}.values())


def _roaming(one: FoundGroup, cpus: Collection[int]) -> list[Worker]:
    """Threads that may run on more than one of these CPUs."""
    return [worker for worker in _serving(one) if len(worker.cpus.intersection(cpus)) > 1]


def _pins(
    group: Group,
    roaming: list[Worker],
    cpus: Collection[int],
    online: Collection[int],
    pins: dict[int, int],
) -> list[tuple[Worker, int]]:
    """A CPU for each thread that is not pinned; none where that would be no good.

    That is where a socket has several threads, or one that is not known; and where fewer CPUs
    would be at work than now, as where few of them receive.

    Args:
        group: The group.
        roaming: The threads to pin.
        cpus: The CPUs that receive.
        online: The CPUs of the machine.
        pins: The CPU of each thread that was given one for another group, by tid; added to.
    """
    if unknown(group) or any(len(member.workers) > 1 for member in group.members if member.inode):
        return []
    threads = {one.tid: one for member in group.members for one in member.workers}
    others = [one for tid, one in threads.items() if tid not in {each.tid for each in roaming}]
    uses = Counter(cpu for worker in others for cpu in worker.cpus)
    moves = []
    for worker in roaming:
        allowed = worker.cpus.intersection(online)
        cpu = pins.get(worker.tid)
        if cpu is None:
            cpu = min(allowed, key=lambda cpu: (uses[cpu], cpu not in cpus, cpu))
        uses[cpu] += 1
        moves.append((worker, cpu))
    after = [frozenset({cpu}) for _, cpu in moves] + [worker.cpus for worker in others]
    before = [worker.cpus.intersection(online) for worker in (*roaming, *others)]
    if at_work(after) < at_work(before):
        return []
    pins.update({worker.tid: cpu for worker, cpu in moves})
    return moves


def _in_vain(one: FoundGroup, cpus: Collection[int], read: tuple[Value, ...]) -> Finding | None:
    """A choice by CPU among workers that are not on one CPU, if there are such workers."""
    roaming = _roaming(one, cpus)
    if not roaming or len(one.group.members) <= 1:
        return None
    many = max(len(worker.cpus.intersection(cpus)) for worker in roaming)
    return Finding(
        Level.COSTS,
        f"{one} choice",
        f"chooses by CPU, but {counted(len(roaming), 'worker')} may run on up to {many} of the "
        f"CPUs that receive: about 1 in {many} connections is local",
        "The worker is on the RX CPU only when the scheduler happens to have put it there.",
        read,
    )


def _choice(
    one: FoundGroup, cpus: Collection[int], read: tuple[Value, ...]
) -> Iterator[Finding | Unread]:
    """Whether a program, or SO_INCOMING_CPU, chooses the worker on the RX CPU."""
    group, subject = one.group, f"{one} choice"
    if len(group.members) <= 1 or len(cpus) == 1:
        return
    steered = [member for member in group.members if member.incoming_cpu is not None]
    if not group.order_known or group.attached is None:
        yield Unread(subject, group.how)
    elif (group.attached or steered) and unknown(group):
        yield Unread(subject, "not all of its workers are known")
    elif group.is_opaque:
        why = f" ({group.spill.why})" if group.spill else ""
        yield Unread(
            subject, f"the group has {describe_present(group)}: what it answers is not known{why}"
        )
    elif group.spill is not None:
        yield check_spill.program(one, cpus, read)
    elif group.program is not None:
        try:
            yield check_spill.hot_worker(one, read) or _program(one, group.program, cpus, read)
        except LocalityError as error:  # an instruction that is not evaluated
            yield Unread(subject, f"what {describe(group.program)} answers is not known: {error}")
    elif steered and group.incoming_doubt:
        yield Unread(
            subject,
            "whether this kernel selects by SO_INCOMING_CPU is not known: " + group.incoming_doubt,
        )
    elif steered:
        yield _incoming_cpu(one, cpus, read)
    else:
        unguided = Finding(
            Level.COSTS,
            subject,
            f"a hash chooses among {len(group.members)} sockets, whichever CPU received",
            f"About 1 in {len(group.members)} connections meets the worker on its CPU by chance.",
            read,
        )
        yield _remedied(unguided, one)


def _program(
    one: FoundGroup, program: cbpf.Program, cpus: Collection[int], read: tuple[Value, ...]
) -> Finding:
    group, name = one.group, describe(program)
    subject = f"{one} choice"
    if not program.reads <= {"cpu"}:
        what = f"{name} chooses by {', '.join(sorted(program.reads))}, not by CPU"
        why = "The worker that gets a connection has no relation to the CPU that received it."
        return _remedied(Finding(Level.COSTS, subject, what, why, read), one)
    answers = {cpu: cbpf.evaluate(program, cbpf.Packet(cpu=cpu)) for cpu in cpus}
    wrong = check_spill.elsewhere(group, program, cpus)
    # What is past the end is hashed, and the hash leaves nobody out.
    starved = set(range(len(group.members))) - set(answers.values())
    if any(answer >= len(group.members) for answer in answers.values()):
        starved = set()
    if not wrong and not starved:
        return Finding(Level.OK, subject, f"{name} chooses the worker on the RX CPU", read=read)
    effects = []
    if wrong:
        effects.append(f"what CPUs {format_cpu_list(wrong)} receive goes to workers elsewhere")
    if starved:
        effects.append(f"indexes {format_cpu_list(starved)} get nothing")
    why = "The program does not fit the group's order, its size, or where its workers run."
    level = Level.COSTS if wrong else Level.MAY
    what = f"with {name} " + "; ".join(effects)
    return _remedied(Finding(level, subject, what, why, read), one)


def _incoming_cpu(one: FoundGroup, cpus: Collection[int], read: tuple[Value, ...]) -> Finding:
    """SO_INCOMING_CPU: the kernel prefers the socket that asks for the RX CPU (6.2 and later)."""
    members, subject = one.group.members, f"{one} choice"
    astray = [
        index
        for index, member in enumerate(members)
        if member.incoming_cpu is not None
        and member.cpus
        and member.incoming_cpu not in member.cpus
    ]
    left = set(cpus) - {member.incoming_cpu for member in members}
    if astray:
        what = f"SO_INCOMING_CPU of index {format_cpu_list(astray)} is no CPU its worker runs on"
        why = "The kernel sends such a worker what another CPU received."
        return _remedied(Finding(Level.COSTS, subject, what, why, read), one)
    if left:
        what = f"no socket has CPU {format_cpu_list(left)} as its SO_INCOMING_CPU"
        why = "What those CPUs receive is hashed over all sockets."
        return Finding(Level.MAY, subject, what, why, read)
    what = "SO_INCOMING_CPU leads to the worker on the RX CPU"
    return Finding(Level.OK, subject, what, read=read)


def _nodes(one: FoundGroup, machine: Machine, read: tuple[Value, ...]) -> Iterator[Finding]:
    """Workers on another NUMA node than the device."""
    for device in machine.devices:
        home = placement.home_node(machine, device)
        if home is None or device.node is None:
            continue
        near = machine.nodes.get(home, ())
        away = [m for m in one.group.members if m.cpus and m.cpus.isdisjoint(near)]
        if away:
            yield Finding(
                Level.MAY,
                f"{one} node",
                f"{len(away)} of {len(one.group.members)} workers are on another node than "
                f"{device.name} (node {home}, CPUs {format_cpu_list(near)})",
                "Every packet crosses the link between the nodes to be read.",
                (*read, device.node),
            )


def _remedied(finding: Finding, one: FoundGroup) -> Finding:
    """The same with the command that attaches a fitting program, and the one that goes back."""
    command = check_spill.attach_command(one)
    before = "--detach"
    if one.group.program is not None:
        before = option_for(one.group.program)  # empty: no command of ours makes it
    return replace(
        finding,
        by_hand=(f"{command} --map auto",),
        by_hand_undo=(f"{command} {before}",) if before else (),
        not_applied=check_spill.NOT_APPLIED,
    )


def _after_workers(finding: Finding, one: FoundGroup, online: Collection[int]) -> Finding:
    """The same, with a word that its command takes workers that are pinned, where they are not."""
    if finding.not_applied != check_spill.NOT_APPLIED or not unpinned(one.group, online):
        return finding
    return replace(finding, not_applied=check_spill.AFTER_WORKERS)


def _in_words(group: Group) -> str:
    workers = format_cpu_list(frozenset().union(*(member.cpus for member in group.members)))
    program = describe_present(group) or "none"
    incoming = [str(m.incoming_cpu) for m in group.members if m.incoming_cpu is not None]
    return (
        f"{counted(len(group.members), 'socket')}, workers on CPUs {workers or '?'}, "
        f"program {program if group.attached is not None else '?'}"
        + (f", SO_INCOMING_CPU {','.join(incoming)}" if incoming else "")
    )
