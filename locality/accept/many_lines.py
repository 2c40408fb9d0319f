"""Many connections as lines, made of all of them at once: see `locality.recording.byte_lines`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.accept.columns import COLUMNS, address, address_keys
from locality.machine.topology import WORDS
from locality.recording.byte_lines import AT_ONCE, ByteLines, distinct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locality.accept.batch import AcceptBatch
    from locality.machine.topology import Topology
    from locality.recording.columns import Column

_IPV4 = 4


class Form(NamedTuple):
    """What lines look like.

    Attributes:
        before: What stands before each column.
        end: What stands behind the last.
        encode: Makes a text what it is in a line; also of None, which is a text that is not known.
        quote: What stands on both sides of a text that needs no escapes.
        unknown: What stands for a number that is not known.
    """

    before: tuple[str, ...]
    end: str
    encode: Callable[[str | None], str]
    quote: str = ""
    unknown: str = ""


def pieces(batch: AcceptBatch) -> Iterator[AcceptBatch]:
    """A batch in pieces of `AT_ONCE`; none of an empty one."""
    if len(batch) <= AT_ONCE:
        if len(batch):
            yield batch
        return
    for first in range(0, len(batch), AT_ONCE):
        yield replace(batch, records=batch.records[first : first + AT_ONCE])


def many_lines(batch: AcceptBatch, machine: Topology, form: Form) -> str | None:
    """A line for each connection.

    Args:
        batch: Not empty.
        machine: Whose CPUs they are.
        form: What the lines look like.

    Returns:
        None: They cannot be made in this way, for a time is not of these decades.
    """
    records = batch.records
    lines = ByteLines(len(records))
    for before, column in zip(form.before, COLUMNS, strict=True):
        lines.same(before.encode())
        match column.form:
            case "number":
                lines.numbers(records[column.name])
            case "time":
                if not lines.seconds(records[column.name] + batch.clock_offset):
                    return None
            case "wait":
                known = (records["flags"] & WAIT_KNOWN) != 0
                lines.numbers(records["wait"], known, form.unknown.encode())
            case "name":
                codes, names = distinct(records[column.name])
                texts = [name.decode(errors="backslashreplace") for name in names.tolist()]
                lines.texts(codes, [form.encode(text).encode() for text in texts])
            case "distance":
                apart = machine.distance(records["cpu"], records["rxcpu"])
                lines.texts(apart, [form.encode(word).encode() for word in WORDS.tolist()])
            case "path":
                ids, codes = np.unique(records["cgroup"], return_inverse=True)
                paths = [batch.cgroups.get(number) for number in ids.tolist()]
                lines.texts(codes, [form.encode(path).encode() for path in paths])
            case _:
                _addresses(lines, batch, column, form)
    lines.same(form.end.encode())
    return lines.join().decode()


def _addresses(lines: ByteLines, batch: AcceptBatch, column: Column, form: Form) -> None:
    records = batch.records
    if (records["family"] == _IPV4).all():
        lines.same(form.quote.encode())
        for place in range(_IPV4):
            lines.same(b"." if place else b"")
            lines.numbers(records[column.name][:, place])
        lines.same(form.quote.encode())
        return
    keys = address_keys(records, column.name)
    _, index, codes = np.unique(keys.view("S17"), return_index=True, return_inverse=True)
    texts = [address(key) for key in keys[index].view("V17").tolist()]
    lines.texts(codes, [form.encode(text).encode() for text in texts])
