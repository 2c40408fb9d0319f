"""`locality info`: what a recording is, without its rows."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from locality.kinds import KINDS
from locality.recording.size import frames_size
from locality.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.recording.reader import Reader


class Info:
    """A recording read to its end.

    Attributes:
        rows: Rows of all batches.
    """

    def __init__(self, reader: Reader) -> None:
        self.rows = sum(reader.count(batch) for batch in reader)
        self._reader = reader
        self.meta = reader.meta

    def lines(self) -> Iterator[str]:
        """For people."""
        meta, reader = self.meta, self._reader
        kind = KINDS[meta.kind]
        count = self.rows if kind.row_is_event else reader.batches
        what = kind.recorded
        why = "the recording is damaged" if reader.damaged else "the recorder was killed"
        ended = f"not known: {why}" if meta.ended is None else _clock(meta.ended)
        frames = frames_size(kind, self.rows)
        facts = {
            "recording": f"{what}, format {meta.format}, by locality {meta.tool}",
            "label": meta.label,
            "host": f"{meta.host}, kernel {meta.kernel}, {len(meta.online)} CPUs",
            "rung": "; ".join([meta.rung, *meta.refused]),
            "not seen": meta.unseen.removeprefix("not seen: "),
            "filter": meta.filter,
            "interval": f"{meta.interval:g} s" if meta.interval else "",
            "began": _clock(meta.started),
            "ended": ended,
            "holds": f"{_held(count, what)}, {counted(self.rows, 'row')} in "
            f"{counted(reader.batches, 'batch')}, {counted(reader.size, 'byte')}",
            "memory": f"{frames}: DataFrames of locality.load()" if frames else "",
            "lost": str(reader.lost),
            "end": reader.note,
        }
        for name, fact in facts.items():
            if fact:
                yield f"{name:<10} {printable(fact)}"

    def json(self) -> str:
        """For programs."""
        reader = self._reader
        found = asdict(self.meta) | {
            "rows": self.rows,
            "batches": reader.batches,
            "bytes": reader.size,
            "torn": reader.torn,
            "damaged": reader.damaged,
            "lost": reader.lost,
        }
        return json.dumps(found)


def _held(count: int, what: str) -> str:
    """``1 interval of packet counts``, ``2 intervals of packet counts``."""
    if count == 1:
        what = re.sub(r"s( |$)", r"\1", what, count=1)
    return f"{count:,} {what}"


def _clock(ns: int) -> str:
    try:
        return datetime.fromtimestamp(ns / 10**9).astimezone().isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns"
