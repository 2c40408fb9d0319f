"""Look before attaching: what would a program do to the group of this socket?

All of it is pure: the same target, program and CPUs give the same findings and lines.
What is refused would not do what its user must have meant; a warning leaves the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from locality import cbpf
from locality.cbpf.describe import describe, others_go
from locality.machine.topology import format_cpu_list
from locality.reuseport.servers import server_of
from locality.steering.attachment import describe_present, foreign
from locality.steering.nearest import fitting_map
from locality.steering.plan import unknown, unpinned
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from locality.reuseport.group import Group
    from locality.reuseport.target import Target

    #: What a program answers to each of `_inputs`.
    Answers = Mapping[cbpf.Packet, int]


_NAMED = 3
"""So many groups of a finding are named."""


class Level(Enum):
    """How much a finding matters."""

    REFUSE = "refused"
    WARN = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line on what speaks against attaching."""

    level: Level
    text: str


def decide(
    target: Target, program: cbpf.Program, group: int | None, cpus: Collection[int]
) -> list[Finding]:
    """What speaks against attaching a program to a target.

    Args:
        target: From `target.inspect`.
        program: The program to attach.
        group: The group size the user believes in; None if none was given (a map).
        cpus: The CPUs of this machine that can process packets.

    Returns:
        Findings, those that refuse first. None of them changes anything by itself.
    """
    if unfit := unfit_target(target):
        return [unfit]
    if target.kind == "tcp" and "payload" in program.reads:
        none = f"{describe(program)}: a TCP SYN has no payload, so this can never match"
        return [Finding(Level.REFUSE, none)]
    if not target.group.members:
        none = f"fd {target.fd} has joined no group yet (UDP joins at bind()), none can be checked"
        return [Finding(Level.WARN, none)]
    if unseen := unseen_group(target):
        return [unseen]
    answers = {packet: cbpf.evaluate(program, packet) for packet in _inputs(program, cpus)}
    refused = _wrong_size(target, program, group, cpus, answers)
    findings = [*foreign_program(target)]
    findings += [Finding(Level.REFUSE, refused)] if refused else []
    warnings = [] if refused else [*_idle(target.group, cpus, answers)]
    warnings += misplaced(target.group, program, cpus)
    return findings + [Finding(Level.WARN, warning) for warning in warnings]


def in_groups(finding: Finding, where: list[str], groups: int) -> str:
    """A finding in words: said once, however many of the groups it is about.

    Args:
        finding: The finding.
        where: The addresses of the groups it is about.
        groups: How many there are in all; one needs no name.
    """
    if groups == 1:
        return finding.text
    named = ", ".join(where[:_NAMED]) + (f" and {len(where) - _NAMED} more" * (len(where) > _NAMED))
    return f"{named}: {finding.text}"


def dry_run(program: cbpf.Program, cpus: Iterable[int]) -> list[str]:
    """The lines to show instead of attaching: the program, and the index for each CPU."""
    return [*cbpf.disassemble(program), "", *_answers(program, sorted(cpus))]


def explain(target: Target, program: cbpf.Program, cpus: Collection[int]) -> list[str]:
    """The lines that say what the program means for this target."""
    group = target.group
    lines = [*about_group(target)]
    if group.program == program:
        lines.append(f"the group has {describe(program)} already")
    elif before := describe_present(group):
        lines.append(f"{describe(program)} replaces {before}")
    if control := cbpf.recognise(program):
        lines.append(
            f"datagrams with {control} go to index 0, others {others_go(program, control)}"
        )
    elif program.reads != {"cpu"}:
        lines.append(
            f"{describe(program)} does not look at the CPU: it spreads, wherever workers run"
        )
    elif group.order_known:
        lines.append(where_local(group, program, cpus))
    return [*lines, *about_workers(group)]


def about_group(target: Target) -> Iterator[str]:
    """The group, and the process's sockets that are in others."""
    group = target.group
    yield f"{target.address} ({target.kind}): a group of {len(group.members)}, {group.how}"
    port = target.listeners.get(target.fd)
    others = {other: fd for fd, other in target.listeners.items() if other != port}
    yield from (f"fd {fd} (port {other}) is in another group" for other, fd in others.items())


def where_local(group: Group, program: cbpf.Program, cpus: Iterable[int]) -> str:
    """From which CPUs a program by CPU sends packets to a worker that may run there."""
    local = [cpu for cpu in sorted(cpus) if cpu in _served_on(group, program, cpu)]
    which = f"CPUs {format_cpu_list(local)}" if local else "no CPU"
    return f"packets of {which} go to a worker that may run there"


def about_workers(group: Group) -> Iterator[str]:
    """Who serves each index."""
    for index, member in enumerate(group.members if group.order_known else ()):
        served = ", ".join(f"{one.task} {printable(one.comm)}" for one in member.workers) or "?"
        yield f"index {index}: {served}, CPUs {format_cpu_list(member.cpus) or '?'}"


# --- what speaks against it -------------------------------------------------------------


def unfit_target(target: Target) -> Finding | None:
    """Why this socket has no group to attach to, if it has none."""
    why = _unfit(target)
    return Finding(Level.REFUSE, why) if why else None


def _unfit(target: Target) -> str:
    if target.kind not in {"tcp", "udp"}:
        problem = f"a socket of kind {target.kind}; only TCP and UDP sockets form groups"
    elif target.kind == "tcp" and target.connected:
        problem = "a connection, not a listening socket"
    elif not target.reuseport:
        problem = (
            f"alone on {target.address}: it has no SO_REUSEPORT, so there is nothing to choose "
            f"from ({server_of(target.pid).own})"
        )
    elif target.kind == "tcp" and not target.listening:
        problem = "not listening, so in no group yet"
    else:
        return ""
    others = ", ".join(f"fd {fd} (port {port})" for fd, port in target.listeners.items())
    hint = f"; pid {target.pid} listens on {others}" if others else ""
    return f"fd {target.fd} of pid {target.pid} is {problem}{hint}"


def unseen_group(target: Target) -> Finding | None:
    """That what the program would do cannot be told, if it cannot."""
    if target.group.order_known:
        return None
    return Finding(
        Level.REFUSE,
        f"the group of {target.address} could not be seen, so what the program would do to it is "
        f"not known: {target.group.how} (locality check shows which capabilities are missing)",
    )


def foreign_program(target: Target) -> Iterator[Finding]:
    """That what the group has now could not be put back, if it could not."""
    if why := foreign(target.group):
        yield Finding(Level.REFUSE, f"{target.address}: {why}")


def _wrong_size(
    target: Target,
    program: cbpf.Program,
    group: int | None,
    cpus: Collection[int],
    answers: Answers,
) -> str:
    """What would happen because the program is made for another group, or nothing."""
    size = len(target.group.members)
    missed, hashed = _starved(size, answers), _hashed(size, program, answers)
    # A map claims no size: it is wrong if it points past the end or leaves sockets out, but for
    # those that are more than there are CPUs to give them.
    fed = len(set(answers.values()))
    fits = not missed or fed == len(cpus) if group is None else group == size
    if fits and program.group <= size:
        return ""
    effects = [effect for effect in (missed, hashed) if effect]
    if not effects:
        here = format_cpu_list(cpus)
        none = f"on this machine's CPUs ({here}) that makes no difference, but it would if another "
        effects = [f"{none}CPU came online, so it is taken for a mistake"]
    remedy = f"--group {size}" if group not in {None, size} else f"every index from 0 to {size - 1}"
    return (
        f"{describe(program)} is for a group of {max(group or 0, program.group)}, the one of "
        f"{target.address} has {size}: {'; '.join(effects)}; use {remedy}"
    )


def _inputs(program: cbpf.Program, cpus: Collection[int]) -> list[cbpf.Packet]:
    """Packets that bring out every answer: one a CPU, or one a residue of the group size."""
    control = cbpf.recognise(program)
    payloads = [b"", control.shortest] if control else [b""]
    if program.reads <= {"cpu", "payload"}:
        return [
            cbpf.Packet(cpu=cpu, payload=payload) for cpu in sorted(cpus) for payload in payloads
        ]
    size = program.group
    return [
        cbpf.Packet(random=n, queue=n + 1, rxhash=n + size, payload=payload)
        for n in range(size)
        for payload in payloads
    ]


def _hashed(size: int, program: cbpf.Program, answers: Answers) -> str:
    """Which share of the answers is past the end of the group."""
    past = [packet for packet, answer in answers.items() if answer >= size]
    if not past:
        return ""
    if program.reads <= {"cpu"}:
        of = f"({len(past)} of {len(answers)} CPUs)"
        return f"what CPUs {format_cpu_list(packet.cpu for packet in past)} process is hashed {of}"
    return f"{len(past) / len(answers):.0%} of the answers are past its end and hashed"


def _starved(size: int, answers: Answers) -> str:
    """Which sockets no answer selects, when nothing is left to the hash either."""
    missed = set(range(size)).difference(answers.values())
    if not missed or any(answer >= size for answer in answers.values()):
        return ""
    return f"indexes {format_cpu_list(missed)} get nothing at all"


def _idle(group: Group, cpus: Collection[int], answers: Answers) -> Iterator[str]:
    """Sockets that get nothing although the size is right, and sockets nobody serves."""
    if starved := _starved(len(group.members), answers):
        yield f"with CPUs {format_cpu_list(cpus)} {starved}"
    yield from unserved_sockets(group)


def unserved_sockets(group: Group) -> Iterator[str]:
    """Sockets that nobody was seen to serve."""
    unserved = [index for index, member in enumerate(group.members) if not member.workers]
    if unserved:
        which = format_cpu_list(unserved)
        yield (
            f"no thread was seen to wait for index {which}: connections sent there may never be "
            "accepted (or their workers cannot be seen from here; root sees all)"
        )


def misplaced(group: Group, program: cbpf.Program, cpus: Collection[int]) -> Iterator[str]:
    """Workers that are not on the CPUs whose packets a program by CPU sends them."""
    if program.reads != {"cpu"}:
        return
    if unknown(group):  # said already, and nothing is advised from what is left
        return
    if roaming := unpinned(group, cpus):
        server = server_of(group.members[roaming[0]].workers[0].pid)
        yield (
            f"the workers of {len(roaming)} of {len(group.members)} sockets may run on several "
            f"CPUs, so no program can make them local; pin them first ({server.pins})"
        )
        return
    fitting = fitting_map(group, cpus)
    wrong = [cpu for cpu in fitting if cpu not in _served_on(group, program, cpu)]
    if wrong:
        index = cbpf.evaluate(program, cbpf.Packet(cpu=wrong[0]))
        elsewhere = format_cpu_list(_served_on(group, program, wrong[0])) or "unknown"
        past = index >= len(group.members)
        example = "the hash" if past else f"index {index}, served on CPUs {elsewhere}"
        yield (
            f"what CPUs {format_cpu_list(wrong)} process goes to workers elsewhere "
            f"(CPU {wrong[0]}: {example}); this fits: --map {cbpf.format_map(fitting)}"
        )


def _served_on(group: Group, program: cbpf.Program, cpu: int) -> frozenset[int]:
    """The CPUs of the worker that gets what this CPU processes; none if it is hashed."""
    index = cbpf.evaluate(program, cbpf.Packet(cpu=cpu))
    return group.members[index].cpus if index < len(group.members) else frozenset()


# --- the dry run -------------------------------------------------------------------------


def _answers(program: cbpf.Program, cpus: list[int]) -> Iterator[str]:
    size = program.group
    if control := cbpf.recognise(program):
        by = control.others
        to = "hash, over all indexes" if by == "hash" else f"index 1 to {size - 1}, by {by}"
        yield f"{control} -> index 0"
        yield f"any other, or shorter -> {to}"
    elif program.reads <= {"cpu"}:
        for cpu in cpus:
            answer = cbpf.evaluate(program, cbpf.Packet(cpu=cpu))
            yield f"CPU {cpu} -> " + ("hash" if answer == cbpf.HASH else f"index {answer}")
    elif program.reads == {"queue"}:
        for number in range(size):
            answer = cbpf.evaluate(program, cbpf.Packet(queue=number + 1))
            yield f"any CPU, RX queue {number} -> index {answer}"
        yield "any CPU, no RX queue recorded -> hash"
    else:
        yield f"any CPU -> index 0 to {size - 1}, by {', '.join(sorted(program.reads))}"
