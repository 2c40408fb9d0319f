"""The spill program in words: its table, what it counted, what it would answer."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from locality.cbpf import format_map
from locality.machine.topology import format_cpu_list
from locality.spill.answers import Kind, possible
from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from locality.spill.answers import Answer
    from locality.spill.attached import Counted, Spill
    from locality.spill.table import Table

SHOWN_CPUS = 16
"""Of more CPUs with different workers only the first are shown; JSON has them all."""

SHOWN_INDEXES = 16
"""Of more indexes in no row, or of more lengths, only the first are shown."""

#: Why something was left to the hash, by the name of its count.
HASHED = {
    "no_worker": "CPU without a worker",
    "closed": "the worker's socket has gone",
    "newcomers": "for sockets that joined later",
}


def describe(table: Table, inodes: Sequence[int]) -> str:
    """A table in a few words: ``map 0:0,1:1, spilling above 2``.

    Args:
        table: The table.
        inodes: The group's sockets in order.
    """
    index = {inode: number for number, inode in enumerate(inodes)}
    mapped = {
        cpu: index[int(table.sockets[number, 0])]
        for number, cpu in enumerate(table.cpus)
        if int(table.sockets[number, 0]) in index
    }
    return f"map {format_map(mapped) or 'of no CPU'}, spilling above {table.bound}"


def rule(table: Table) -> str:
    """What the program does, in a sentence."""
    return (
        f"a connection goes to the worker of its RX CPU; if more than {table.bound} wait for that "
        "worker, to the nearest one for which fewer wait"
    )


def order_lines(table: Table, inodes: Sequence[int], cpus: Collection[int]) -> Iterator[str]:
    """The workers of each CPU, nearest first; CPUs with the same ones in one line.

    Args:
        table: The table.
        inodes: The group's sockets in order.
        cpus: The CPUs to tell.
    """
    by_text: dict[str, list[int]] = {}
    for cpu in sorted(cpus):
        by_text.setdefault(_order(table, inodes, cpu), []).append(cpu)
    for number, (text, alike) in enumerate(by_text.items()):
        if number == SHOWN_CPUS:
            yield f"... {len(by_text) - SHOWN_CPUS} more, see --format json"
            return
        yield f"CPU {format_cpu_list(alike)} -> {text}"


def _order(table: Table, inodes: Sequence[int], cpu: int) -> str:
    index = {inode: number for number, inode in enumerate(inodes)}
    row = [(index[inode], distance) for inode, distance in table.row(cpu) if inode in index]
    if not row:
        return "hash"
    (own, near), others = row[0], row[1:]
    further = [
        f"{_indexes([number for number, _ in here])} ({distance.word})"
        for distance, here in groupby(others, lambda choice: choice[1])
    ]
    text = f"index {own} ({near.word})"
    return f"{text}, then {', '.join(further)}" if further else text


def counted_lines(spill: Spill, inodes: Sequence[int]) -> Iterator[str]:
    """What the program has counted, in all and for each socket.

    Args:
        spill: The program.
        inodes: The group's sockets in order.
    """
    counted = spill.counted
    if counted is None:
        yield f"what it counted is not known: {spill.why}"
        return
    yield f"answers since it was attached: {totals(counted)}"
    for number, inode in enumerate(inodes):
        if inode in spill.outside:
            yield f"index {number}: not in the table, so only the hash selects it"
        elif got := counted.sockets.get(inode):
            yield f"index {number}: {got.kept} kept, {got.spilled} spilled to it"
    if any(counted.departed):
        kept, spilled = counted.departed
        yield f"sockets that have left: {kept} kept, {spilled} spilled to them"


def totals(counted: Counted) -> str:
    """The sums: ``900 kept (90.0%), 95 spilled (9.5%: core 60, llc 35), ...``."""
    whole = counted.answers
    kept = counted.total("kept")
    parts = [f"{kept} kept ({percent(share(kept, whole))})"]
    spilled = {distance: count for distance, count in counted.spilled.items() if count}
    many = sum(spilled.values())
    by_distance = ", ".join(f"{distance.word} {count}" for distance, count in spilled.items())
    parts.append(
        f"{many} spilled ({percent(share(many, whole))}" + f": {by_distance}" * bool(many) + ")"
    )
    if long := counted.total("kept_long"):
        parts.append(f"{long} kept because no queue was shorter")
    if counted.hashed:
        why = ", ".join(
            f"{text} {n}" for name, text in HASHED.items() if (n := counted.total(name))
        )
        parts.append(f"{counted.hashed} hashed ({why})")
    return ", ".join(parts)


def as_object(spill: Spill, inodes: Sequence[int]) -> dict[str, Any]:
    """The program for JSON: what is not known is null; a socket without an index has left."""
    table, counted = spill.table, spill.counted
    index = {inode: number for number, inode in enumerate(inodes)}
    return {
        "why_unknown": spill.why or None,
        "bound": table and table.bound,
        "not_in_table": sorted(index[inode] for inode in spill.outside),
        "cpus": table
        and [
            {
                "cpu": cpu,
                "workers": [
                    {"index": index.get(inode), "distance": distance.word}
                    for inode, distance in table.row(cpu)
                ],
            }
            for cpu in table.cpus
        ],
        "answers": counted
        and sums(counted)
        | {
            "sockets": [
                {"index": index.get(inode), **got._asdict()}
                for inode, got in counted.sockets.items()
            ],
            "departed": counted.departed._asdict(),
        },
    }


def sums(counted: Counted) -> dict[str, Any]:
    """What all CPUs counted, for JSON."""
    return {
        "kept": counted.total("kept"),
        "kept_long": counted.total("kept_long"),
        "spilled": {distance.word: count for distance, count in counted.spilled.items()},
        "hashed": {name: counted.total(name) for name in HASHED},
    }


def answer_lines(
    table: Table, inodes: Sequence[int], cpus: Collection[int], queues: Sequence[int]
) -> Iterator[str]:
    """What the program answers on each CPU at given lengths of the queues.

    Args:
        table: The table.
        inodes: The group's sockets in order.
        cpus: The CPUs to tell.
        queues: How many connections wait for each socket, in the same order.
    """
    yield f"with {_lengths(queues)} waiting:"
    waiting = dict(zip(inodes, queues, strict=True))
    index = {inode: number for number, inode in enumerate(inodes)}
    by_text: dict[str, list[int]] = {}
    for cpu in sorted(cpus):
        by_text.setdefault(_answers(possible(table, cpu, waiting), index), []).append(cpu)
    for text, alike in by_text.items():
        yield f"  CPU {format_cpu_list(alike)} -> {text}"


def _answers(answers: Sequence[Answer], index: Mapping[int, int]) -> str:
    """Several answers of one kind and distance are put together."""
    parts = []
    for (kind, distance), alike in groupby(answers, lambda one: (one.kind, one.distance)):
        if kind is Kind.HASHED or distance is None:
            parts.append("hash")
            continue
        indexes = sorted(index[one.socket] for one in alike if one.socket is not None)
        which = f"index {_indexes(indexes)}" + (", by chance" if len(indexes) > 1 else "")
        parts.append(f"{which} ({distance.word}, {kind.value})")
    return " or ".join(parts)


def _indexes(numbers: Collection[int]) -> str:
    """Indexes as ranges: ``0-3,7``; of many that make no range, the first."""
    whole = format_cpu_list(numbers)
    if whole.count(",") < SHOWN_INDEXES:
        return whole
    return f"{','.join(whole.split(',')[:SHOWN_INDEXES])},... ({len(numbers)} indexes)"


def _lengths(queues: Sequence[int]) -> str:
    """The length at each index; in a large group at those where any connection waits."""
    if len(queues) <= SHOWN_INDEXES:
        return ",".join(map(str, queues))
    waiting = [(index, length) for index, length in enumerate(queues) if length]
    first = ", ".join(f"{length} at index {index}" for index, length in waiting[:SHOWN_INDEXES])
    more = len(waiting) - SHOWN_INDEXES
    return (first or "none") + f" and some at {more} more" * (more > 0)
