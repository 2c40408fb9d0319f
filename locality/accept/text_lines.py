"""The readable lines of many connections, made of all of them at once.

They are those of `locality.accept.text.TextAccept`; see `locality.recording.byte_lines`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import WAIT_KNOWN
from locality.accept.columns import address, address_keys
from locality.machine.topology import WORDS
from locality.recording.byte_lines import ByteLines, distinct
from locality.text import TIME_UNITS, duration, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.accept.batch import AcceptBatch, Records
    from locality.arrays import Array
    from locality.machine.topology import Topology

_IPV4 = 4
_DIGITS = np.array([f".{digit}".encode() for digit in range(10)])
_UNITS = np.array([unit.encode() for _, _, unit in TIME_UNITS])
_SECONDS = len(TIME_UNITS) - 1
#: Where each unit but the first begins, and a tenth of each, in ns; of ns the whole.
_BEGINS = np.ceil([up_to for up_to, _, _ in TIME_UNITS[:-1]]).astype(np.uint64)
_TENTHS = np.array([max(1, one // 10) for _, one, _ in TIME_UNITS], np.uint64)


def text_lines(batch: AcceptBatch, machine: Topology, distance: Callable[[str], str]) -> str:
    """A line for each connection.

    Args:
        batch: Not empty.
        machine: Whose CPUs they are.
        distance: What stands for a word of `locality.machine.topology.WORDS`.
    """
    records = batch.records
    lines = ByteLines(len(records))
    # As the seconds are where they are few: rounded to what a float holds.
    seconds = ((records["time"] + batch.clock_offset) / 1e9).astype(np.int64)
    whole, codes = np.unique(seconds, return_inverse=True)
    clocks = [time.strftime("%H:%M:%S", time.localtime(second)) for second in whole.tolist()]
    lines.texts(codes, [clock.encode() for clock in clocks])
    for name in ("cpu", "rxcpu"):
        lines.same(f" {name}=".encode())
        lines.numbers(records[name])
    lines.same(b" ")
    apart = machine.distance(records["cpu"], records["rxcpu"])
    lines.texts(apart, [distance(word).encode() for word in WORDS.tolist()])
    lines.same(b" ")
    codes, names = distinct(records["comm"])
    texts = [printable(name.decode(errors="backslashreplace")) for name in names.tolist()]
    lines.texts(codes, [text.encode() for text in texts])
    lines.same(b"/")
    _task(lines, records)
    for before, name in ((b" ", "listen_fd"), (b"->", "fd")):
        lines.same(before)
        lines.numbers(records[name])
    lines.same(b" ")
    _client(lines, records)
    lines.same(b":")
    lines.numbers(records["rport"])
    lines.same(b" ")
    _duration(lines, records["wait"], (records["flags"] & WAIT_KNOWN) != 0)
    lines.same(b"\n")
    return lines.join().decode()


def _task(lines: ByteLines, records: Records) -> None:
    pid, tid = records["pid"], records["tid"]
    lines.numbers(pid)
    other = (tid != pid) & (tid != 0)
    if other.any():
        lines.fields(other.astype(np.uint8) * np.uint8(ord("/")))
        lines.numbers(tid, other)


def _client(lines: ByteLines, records: Records) -> None:
    if (records["family"] == _IPV4).all():
        for place in range(_IPV4):
            lines.same(b"." if place else b"")
            lines.numbers(records["raddr"][:, place])
        return
    keys = address_keys(records, "raddr")
    _, index, codes = np.unique(keys.view("S17"), return_index=True, return_inverse=True)
    texts = [address(key) for key in keys[index].view("V17").tolist()]
    lines.texts(codes, [(f"[{text}]" if ":" in text else text).encode() for text in texts])


def _duration(lines: ByteLines, ns: Array, known: Array) -> None:
    """Times as `locality.text.duration` prints them."""
    unit = np.searchsorted(_BEGINS, ns, side="right")
    tenth = _TENTHS[unit]
    tenths, rest = np.divmod(ns, tenth)
    tenths += rest > tenth // 2
    # Half of a tenth is printed as its float is, which is above or below; seconds are few.
    for row in np.flatnonzero((unit > 0) & ((rest * 2 == tenth) | (unit == _SECONDS))).tolist():
        tenths[row] = int(duration(int(ns[row])).rstrip("mnsu").replace(".", ""))
    digits, digit = np.divmod(tenths, 10)
    lines.numbers(np.where(unit, digits, ns), known, b"?")
    lines.fields(np.where(known & (unit > 0), _DIGITS[digit.astype(np.intp)], b""))
    lines.fields(np.where(known, _UNITS[unit], b""))
