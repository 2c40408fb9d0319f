"""What `locality groups` prints: a table a group for people, an object a group for programs."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from locality import cbpf
from locality.cbpf.describe import describe
from locality.errors import LocalityError
from locality.machine.topology import format_cpu_list
from locality.reuseport.survey import ELSEWHERE
from locality.text import counted, printable, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from locality.reuseport.evidence import Worker
    from locality.reuseport.group import Group, Member
    from locality.reuseport.survey import FoundGroup, Survey

NOT_KNOWN = "?"
MOST_WORKERS = 8
"""So many threads of one socket have a row; JSON has them all."""
MOST_NAMED = 3
"""So many sockets of which nothing is known are named."""
SHOWN_INSTRUCTIONS = 12
"""Of a longer program only the beginning is shown: a CPU map of 256 CPUs has 514."""

_HEADING = (
    f"  {'index':>5} {'inode':>10} {'worker/tid':<26} {'cpus':<13} {'incoming':>8} {'backlog':>11}"
)


def table_lines(groups: Iterable[FoundGroup], cpus: Sequence[int]) -> Iterator[str]:
    """Each group: a heading, a row for each socket, the program and what it answers.

    Args:
        groups: What was found.
        cpus: The CPUs for which to tell the program's answer.
    """
    for number, one in enumerate(groups):
        if number:
            yield ""
        members = one.group.members
        where = f"netns {NOT_KNOWN if one.netns is None else one.netns}"
        how = one.group.how if one.group.order_known else "counted, in no order"
        yield from wrap(f"{one}, {counted(len(members), 'socket')}, {where}, {how}", "  ")
        yield _HEADING
        for index, member in enumerate(members):
            yield from _rows(f"{index}" if one.group.order_known else NOT_KNOWN, member)
        yield from _program_lines(one, cpus)


def json_lines(groups: Iterable[FoundGroup]) -> Iterator[str]:
    """Each group as a JSON object; what is not known is null."""
    import json  # noqa: PLC0415 - who wants a table need not wait for it

    for one in groups:
        yield json.dumps(_object(one))


def notes(survey: Survey, *, sees_all: bool = False) -> Iterator[str]:
    """What was not seen, and why: each reason once.

    Args:
        survey: What was found.
        sees_all: Whether root would see no more than this process.
    """
    by_how = Counter(printable(one.group.how) for one in survey.groups if not one.group.order_known)
    for how, groups in by_how.items():
        yield f"{counted(groups, 'group')} {'was' if groups == 1 else 'were'} {how}"
    if survey.unasked:
        one = len(survey.unasked) == 1
        whose, them = ("its process", "it") if one else ("their processes", "them")
        advice = "" if sees_all else f". Run as root to see {them}"
        yield f"{_cannot_tell(survey.unasked)}: {whose} may not be inspected{advice}"
    if survey.unheld:
        it = "it" if len(survey.unheld) == 1 else "them"
        yield (
            f"{_cannot_tell(survey.unheld)}: no process that can be seen here holds {it} "
            f"({ELSEWHERE})"
        )


def _cannot_tell(sockets: Sequence[str]) -> str:
    """That it is not known of some sockets whether they share their ports."""
    named = ", ".join(map(printable, sockets[:MOST_NAMED]))
    if (more := len(sockets) - MOST_NAMED) > 0:
        named += f" and {more:,} more"
    has = "has" if len(sockets) == 1 else "have"
    return f"cannot tell whether {counted(len(sockets), 'socket')} {has} SO_REUSEPORT ({named})"


def _rows(index: str, member: Member) -> Iterator[str]:
    """A row for a socket with the first thread that serves it, and one for each other."""
    incoming = NOT_KNOWN if not member.known else "-"
    if member.incoming_cpu is not None:
        incoming = str(member.incoming_cpu)
    first, *others = member.workers[:MOST_WORKERS] or (None,)
    inode = member.inode or NOT_KNOWN
    yield f"  {index:>5} {inode:>10} {_worker(first)} {incoming:>8} {_backlog(member):>11}"
    for worker in others:
        yield f"  {'':>5} {'':>10} {_worker(worker)}".rstrip()
    if hidden := member.workers[MOST_WORKERS:]:
        cpus = format_cpu_list(frozenset().union(*(worker.cpus for worker in hidden)))
        yield f"  {'':>5} {'':>10} {f'{len(hidden)} more':<26} {_cut(cpus, 13)}"


def _worker(worker: Worker | None) -> str:
    """A thread and its CPUs, as two columns."""
    if worker is None:
        return f"{NOT_KNOWN:<26} {NOT_KNOWN:<13}"
    tid = f"/{worker.tid}"
    name = _cut(printable(worker.comm), 26 - len(tid)) + tid
    return f"{name:<26} {_cut(format_cpu_list(worker.cpus), 13):<13}"


def _backlog(member: Member) -> str:
    if member.backlog is None:
        return "-" if member.known else NOT_KNOWN
    limit = NOT_KNOWN if member.backlog_limit is None else member.backlog_limit
    return f"{member.backlog}/{limit}"


def _program_lines(one: FoundGroup, cpus: Sequence[int]) -> Iterator[str]:
    group = one.group
    if group.attached is None:
        yield f"  program: {NOT_KNOWN}"
    elif not group.attached:
        none = " (MPTCP takes none)" if one.protocol == "mptcp" else ""
        alone = "it is alone, and takes none" if not one.shares else "the hash chooses"
        yield f"  no program{none}: {alone}"
    elif group.program is None:
        yield from _ebpf_lines(group, cpus)
    else:
        # A long map is broken behind its commas, so that it can be copied.
        spaced = f"  program: {describe(group.program)}".replace(",", ", ")
        yield from (line.replace(", ", ",") for line in wrap(spaced, "    "))
        text = cbpf.disassemble(group.program)
        yield from (f"    {line}" for line in text[:SHOWN_INSTRUCTIONS])
        if text[SHOWN_INSTRUCTIONS:]:
            yield f"    ... {len(text) - SHOWN_INSTRUCTIONS} more, see --format json"
        yield from wrap(f"  {answers(group, group.program, cpus)}", "    ")


def _ebpf_lines(group: Group, cpus: Sequence[int]) -> Iterator[str]:
    """An eBPF program: one that spills with its table and counters, of others the name."""
    inodes = group.inodes
    name = group.ebpf or "eBPF"
    if group.spill is None:
        yield f"  program: {name}, which is not shown here"
        return
    from locality.spill import text as spill  # noqa: PLC0415 - few groups have one

    if group.spill.table is None:
        yield f"  program: {name}, made by attach-cbpf --spill"
        yield from wrap(f"  {group.spill.why}", "    ")
    else:
        spaced = f"  program: {spill.describe(group.spill.table, inodes)}".replace(",", ", ")
        yield from (line.replace(", ", ",") for line in wrap(spaced, "    "))
        yield f"    {name}"
        for line in spill.order_lines(group.spill.table, inodes, cpus):
            yield from wrap(f"    {line}", "      ")
    for line in spill.counted_lines(group.spill, inodes):
        yield from wrap(f"  {line}", "    ")


def answers(group: Group, program: cbpf.Program, cpus: Sequence[int]) -> str:
    """What a program answers on each CPU, in words: ``CPU 0,2 -> index 0, CPU 1 -> hash``."""
    if not program.reads <= {"cpu"}:
        return f"any CPU -> one of {program.group} indexes, by {', '.join(sorted(program.reads))}"
    served: dict[int, list[int]] = defaultdict(list)
    try:
        for cpu in cpus:
            index = cbpf.evaluate(program, cbpf.Packet(cpu=cpu))
            served[index if index < len(group.members) else cbpf.HASH].append(cpu)
    except LocalityError as error:
        return f"answers: {NOT_KNOWN} ({error})"
    return ", ".join(
        f"CPU {format_cpu_list(which)} -> " + ("hash" if index == cbpf.HASH else f"index {index}")
        for index, which in sorted(served.items())
    )


def _object(one: FoundGroup) -> dict[str, Any]:
    group = one.group
    program = None
    if group.program is not None:
        program = {
            "text": describe(group.program),
            "instructions": cbpf.disassemble(group.program),
        }
    return {
        "protocol": one.protocol,
        "address": one.address,
        "port": one.port,
        "netns": one.netns,
        "reuseport": one.shares,
        "pid": one.pid,
        "fd": one.fd,
        "order_known": group.order_known,
        "how": group.how,
        "attached": group.attached,
        "program": program,
        "ebpf": group.ebpf and {"id": group.ebpf.number, "name": group.ebpf.name},
        "spill": _spill_object(group),
        "members": [
            {
                "index": index if group.order_known else None,
                "inode": member.inode,
                "incoming_cpu": member.incoming_cpu,
                "backlog": member.backlog,
                "backlog_limit": member.backlog_limit,
                "known": member.known,
                "workers": [_as_object(worker) for worker in member.workers] or None,
            }
            for index, member in enumerate(group.members)
        ],
    }


def _as_object(worker: Worker) -> dict[str, Any]:
    return {
        "pid": worker.pid,
        "tid": worker.tid,
        "comm": worker.comm,
        "cpus": sorted(worker.cpus),
        "evidence": worker.evidence.name.lower(),
    }


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def _spill_object(group: Group) -> dict[str, object] | None:
    if group.spill is None:
        return None
    from locality.spill import text as spill  # noqa: PLC0415 - few groups have one

    return spill.as_object(group.spill, group.inodes)
