"""The file format of recordings: an Arrow IPC stream and what its metadata say.

A recording is append-only: a schema with metadata, then record batches of at most a
second each, then an empty batch whose metadata say how it ended. Whatever ends the
recorder, all batches but the one in hand can be read. The format is that of
https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, so pandas, polars
and duckdb read it as well; what is ours is JSON under the key ``locality``, in the
schema's metadata (`Meta`) and in those of batches: a batch that has none has those before.
"""

from __future__ import annotations

import json
import math
import platform
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import pyarrow as pa

from locality import __version__
from locality.errors import LocalityError
from locality.kinds import KINDS
from locality.machine.clocks import monotonic_to_utc
from locality.machine.topology import Distance, Topology
from locality.recording.columns import of_row
from locality.recording.foreign_json import NOT_OURS, parse_json, whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array
    from locality.bpf.ladder import Attachment
    from locality.recording.columns import Column

#: Raised when a reader of the older format would misunderstand the newer. Format 2 keeps packets as
#: `locality.skb.earlier` says, and distances as digits. Format 3 keeps packets as
#: `locality.skb.stored` says, and a batch has metadata only if they differ from those before.
FORMAT_VERSION = 3
KEY = b"locality"

#: No kernel has more CPUs: NR_CPUS of x86 and arm64 ends at 8192.
_MOST_CPUS = 1 << 14

#: The types of columns, by the names that `locality.recording.columns.Column` has for them.
TYPES = {
    "time": pa.timestamp("ns", "UTC"),
    "text": pa.dictionary(pa.int32(), pa.utf8()),
    "name": pa.dictionary(pa.int32(), pa.binary()),
    "word": pa.dictionary(pa.int8(), pa.utf8()),
    "bool": pa.bool_(),
    "float64": pa.float64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "int32": pa.int32(),
    "int64": pa.int64(),
}


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of these columns, without metadata."""
    return pa.schema([(column.name, TYPES[column.type]) for column in columns])


def nanoseconds(time_s: float) -> int:
    """Seconds as whole nanoseconds: exact, which the product of a float is not."""
    whole = int(time_s)
    return whole * 10**9 + round((time_s - whole) * 10**9)


def seconds_of(times: pa.Array) -> float:
    """The first of some times in seconds: the float that `nanoseconds` was given."""
    # Division of whole numbers gives the float that is nearest, which is what was recorded.
    return float(times.cast(pa.int64())[0].as_py() / 10**9)


def without_times(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows without their times: Arrow makes Python's values of nanoseconds only by pandas."""
    fields = (field for field in rows.schema if not pa.types.is_timestamp(field.type))
    return rows.select([field.name for field in fields])


def _distances(rows: Any) -> Array:  # noqa: ANN401 - from JSON
    """Distances from a string of digits for each row, or a list of numbers as format 1 has it."""
    if isinstance(rows, list) and rows and isinstance(rows[0], str):
        digits = np.frombuffer("".join(rows).encode("ascii"), np.uint8)
        return digits.reshape(len(rows), -1) - np.uint8(ord("0"))
    return np.array(rows, np.uint8)


def damaged(what: str) -> LocalityError:
    """The error for contents that no recorder writes."""
    return LocalityError(f"the recording is damaged: {what}")


def require_values(rows: pa.RecordBatch, columns: Sequence[Column], row: str) -> None:
    """Check that rows of one kind have a value wherever they must.

    Raises:
        LocalityError: One has none.
    """
    for column in of_row(columns, row):
        if column.may_be_null(row) or column.name not in rows.schema.names:
            continue
        if rows[column.name].null_count:
            raise damaged(f"a row of kind {row} lacks a value: {column.name}")


class Stored(Protocol):
    """How recordings of a kind keep rows of its columns: a module of the kind.

    Attributes:
        SCHEMA: Of the file. A column of it that has a name of the kind's columns is such a column.
        EARLIER: Other ones that earlier versions wrote, which it can read.
    """

    SCHEMA: pa.Schema
    EARLIER: Sequence[pa.Schema]

    @staticmethod
    def require(rows: pa.RecordBatch, meta: Meta) -> None:
        """Check what the table of columns cannot say; LocalityError for what no recorder writes."""
        ...

    @staticmethod
    def rows_of(rows: pa.RecordBatch, meta: Meta) -> pa.RecordBatch:
        """Rows of the file as rows of the kind's columns."""
        ...

    @staticmethod
    def count(rows: pa.RecordBatch, meta: Meta) -> int:
        """How many rows of the kind's columns that gives."""
        ...


@dataclass(frozen=True)
class Meta:
    """What was recorded, where, and how it ended.

    Attributes:
        format: Version of the file format.
        tool: Version of locality that recorded.
        host: Name of the machine.
        kernel: Its release, as of ``uname -r``.
        kind: The kind of measurement: a key of `locality.kinds.KINDS`.
        rung: The kind of probe that saw it.
        refused: The rungs refused before, each with the kernel's answer.
        unseen: What this rung does not show, in words; empty if nothing.
        filter: What was recorded, in words.
        label: What the one who recorded calls it, such as a phase of the lab.
        possible: Possible CPUs.
        online: CPUs in use when the recording began.
        distances: As `locality.machine.topology.Topology.distances`, as lists.
        clock_offset: The kernel's CLOCK_MONOTONIC to UTC, ns.
        started: UTC, ns since the epoch.
        interval: Seconds between readings of the counters; None for accepts.
        ended: UTC, ns; None if the recording was cut.
        count: Connections or intervals in it; None if it was cut.
        lost: Accepts, or runs of a probe, that were missed; None if it was cut.
    """

    format: int
    tool: str
    host: str
    kernel: str
    kind: str
    rung: str
    refused: tuple[str, ...]
    unseen: str
    filter: str
    label: str
    possible: int
    online: tuple[int, ...]
    distances: list[list[int]]
    clock_offset: int
    started: int
    interval: float | None = None
    ended: int | None = None
    count: int | None = None
    lost: int | None = None

    @classmethod
    def here(
        cls,
        kind: str,
        attachment: Attachment | None,
        machine: Topology,
        *,
        wanted: str = "everything",
        label: str = "",
        clock_offset: int | None = None,
        interval: float | None = None,
    ) -> Self:
        """A recording of this machine that begins now.

        Args:
            kind: What is recorded.
            attachment: What the source attached; None for a kind without a source.
            machine: This machine's CPUs.
            wanted: The filter, in words.
            label: What to call it.
            clock_offset: The source's own, if it has one: times are then exact both ways.
            interval: Seconds between readings of the counters.
        """
        if clock_offset is None:
            clock_offset = monotonic_to_utc()
        refused = attachment.refused if attachment else ()
        return cls(
            format=FORMAT_VERSION,
            tool=__version__,
            host=platform.node(),
            kernel=platform.release(),
            kind=kind,
            rung=attachment.name if attachment else "none",
            refused=tuple(f"{refusal.rung}: {refusal.answer}" for refusal in refused),
            unseen=attachment.rung.note if attachment else "",
            filter=wanted,
            label=label,
            possible=machine.possible,
            online=machine.online,
            distances=machine.distances.tolist(),
            clock_offset=clock_offset,
            started=time.time_ns(),
            interval=interval,
        )

    @cached_property
    def machine(self) -> Topology:
        """The CPUs of the machine that was recorded."""
        return Topology(self.possible, self.online, np.array(self.distances, np.uint8))

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of a recording of this kind."""
        return KINDS[self.kind].columns.get()

    @property
    def stored(self) -> Stored | None:
        """How a recording of this kind keeps its rows, where that is not the rows themselves."""
        stored = KINDS[self.kind].stored
        return stored.get() if stored else None

    def form_of(self, schema: pa.Schema) -> pa.Schema | None:
        """Which of its forms a file of this kind has: with the columns that it lacks, if older.

        Returns:
            None: It is of no form that a recorder writes, now or earlier.
        """
        later = {column.name for column in self.columns if column.later}
        forms = [schema_of(self.columns)]
        if self.stored:
            forms += [self.stored.SCHEMA, *self.stored.EARLIER]
        for form in forms:
            # Not by schema.names, which a damaged name would break.
            there = [
                field
                for field in form
                if schema.get_field_index(field.name) >= 0 or field.name not in later
            ]
            if schema.equals(pa.schema(there)):
                return form
        return None

    def schema(self) -> pa.Schema:
        """The schema of a recording with these metadata."""
        schema = self.stored.SCHEMA if self.stored else schema_of(self.columns)
        # A digit each: on a machine of 1,024 CPUs lists of numbers take three times the room.
        digits = np.array(self.distances, np.uint8) + ord("0")
        said = vars(self) | {"distances": [row.tobytes().decode() for row in digits]}
        known = {name: said[name] for name in self.__dataclass_fields__}
        return schema.with_metadata({KEY: json.dumps(known).encode()})

    @classmethod
    def from_schema(cls, schema: pa.Schema) -> Self:
        """The metadata of a recording.

        Raises:
            LocalityError: It is none, or of a format that is not known yet, or damaged.
        """
        said: Any = None
        try:
            said = parse_json((schema.metadata or {})[KEY])
            version = whole_number(said["format"], 1)
        except KeyError:
            raise LocalityError("it was not recorded by locality") from None
        except NOT_OURS:
            raise LocalityError("its metadata are damaged") from None
        if version > FORMAT_VERSION:
            raise LocalityError(
                f"it is in format {version}, this locality {__version__} reads up to format "
                f"{FORMAT_VERSION}: install a newer one"
            )
        try:
            meta = cls._checked(said)
        except NOT_OURS:
            raise LocalityError("its metadata are damaged") from None
        if meta.form_of(schema) is None:
            raise LocalityError(f"its columns are not those of a recording of {meta.kind}")
        return meta

    @classmethod
    def _checked(cls, said: dict[str, Any]) -> Self:
        """From JSON that anybody may have written; what this version does not know is left out."""
        kind = str(said["kind"])
        if kind not in KINDS:
            raise ValueError(kind)
        possible = whole_number(said["possible"], 1, _MOST_CPUS)
        distances = _distances(said["distances"])
        if distances.shape != (possible + 1,) * 2 or distances.max() > max(Distance):
            raise ValueError(distances.shape)
        online = tuple(whole_number(cpu, 0, possible - 1) for cpu in said["online"])
        if not online:
            raise ValueError("no CPU was online")
        interval = said["interval"]
        if interval is not None and not 0 < float(interval) < math.inf:
            raise ValueError(interval)
        return cls(
            format=whole_number(said["format"], 1),
            tool=str(said["tool"]),
            host=str(said["host"]),
            kernel=str(said["kernel"]),
            rung=str(said["rung"]),
            unseen=str(said["unseen"]),
            filter=str(said["filter"]),
            label=str(said["label"]),
            clock_offset=whole_number(said["clock_offset"], -(1 << 63)),
            started=whole_number(said["started"], 0),
            kind=kind,
            refused=tuple(map(str, said["refused"])),
            possible=possible,
            online=online,
            distances=distances.tolist(),
            interval=None if interval is None else float(interval),
        )
