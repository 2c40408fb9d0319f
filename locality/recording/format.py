"""The file format of recordings: an Arrow IPC stream and what its metadata say.

A recording is append-only: a schema with metadata, then record batches of at most a
second each, then an empty batch whose metadata say how it ended. Whatever ends the
recorder, all batches but the one in hand can be read. The format is that of
https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, so pandas, polars
and duckdb read it as well; what is ours is JSON under the key ``locality``, in the
schema's metadata (`Meta`) and in each batch's.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa

from locality import __version__
from locality.errors import LocalityError
from locality.machine.topology import Distance, Topology
from locality.udp.interval import READER_SUMS, SOCKET_OWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.bpf.ladder import Footing

#: Raised when a reader of the older format would misunderstand the newer.
FORMAT_VERSION = 1
KEY = b"locality"

Kind = Literal["accept", "skb", "udp"]

_TIME = pa.timestamp("ns", "UTC")
_ADDRESS = pa.dictionary(pa.int32(), pa.utf8())

#: One row a connection, with the columns of `locality.accept.columns.NAMES`. time: of the
#: accept. comm: bytes, as the kernel gave them. wait_ns: null where not known.
ACCEPT_SCHEMA = pa.schema(
    [
        ("time", _TIME),
        ("cpu", pa.int32()),
        ("rxcpu", pa.int32()),
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("comm", pa.dictionary(pa.int32(), pa.binary())),
        ("listen_fd", pa.int32()),
        ("fd", pa.int32()),
        ("family", pa.uint8()),
        ("laddr", _ADDRESS),
        ("lport", pa.uint16()),
        ("raddr", _ADDRESS),
        ("rport", pa.uint16()),
        ("wait_ns", pa.int64()),
        ("netns", pa.uint32()),
        ("distance", pa.dictionary(pa.int8(), pa.utf8())),
    ]
)

#: One batch an interval. Its first two rows are the totals of rx and tx: no CPUs. The others
#: are the pairs of CPUs that had packets: packets only. time: the interval's end.
#: Null is a figure that was not seen, or does not belong to the row.
SKB_SCHEMA = pa.schema(
    [
        ("time", _TIME),
        ("seconds", pa.float64()),
        ("direction", pa.dictionary(pa.int8(), pa.utf8())),
        ("alloc_cpu", pa.int32()),
        ("consume_cpu", pa.int32()),
        ("packets", pa.int64()),
        ("local", pa.int64()),
        ("freed_local", pa.int64()),
        ("deferred", pa.int64()),
        ("unknown", pa.int64()),
        ("delivered", pa.int64()),
        ("delivered_local", pa.int64()),
        ("apart", pa.int64()),
        ("together", pa.int64()),
        ("lost", pa.int64()),
    ]
)

#: One batch an interval, of rows of several kinds: ``row`` says which, `UDP_ROWS` which columns
#: it has; the others are null. time: the interval's end. The columns are those of
#: `locality.udp.interval`; laddr and lport are the receiver's end, raddr and rport the sender's.
UDP_SCHEMA = pa.schema(
    [
        ("time", _TIME),
        ("seconds", pa.float64()),
        ("row", pa.dictionary(pa.int32(), pa.utf8())),
        ("group", pa.int32()),
        ("index", pa.int32()),
        ("inode", pa.int64()),
        ("netns", pa.uint32()),
        ("family", pa.uint8()),
        ("laddr", _ADDRESS),
        ("lport", pa.uint16()),
        ("raddr", _ADDRESS),
        ("rport", pa.uint16()),
        ("size", pa.int32()),
        ("order_known", pa.bool_()),
        ("program", pa.dictionary(pa.int32(), pa.utf8())),
        ("pid", pa.int32()),
        ("tid", pa.int32()),
        ("comm", pa.dictionary(pa.int32(), pa.binary())),
        ("alloc_cpu", pa.int32()),
        ("reader_cpu", pa.int32()),
        *((name, pa.int64()) for name in (*READER_SUMS, *SOCKET_OWN)),
        ("samples", pa.int64()),
        ("sample_one_in", pa.int64()),
        ("flows_lost", pa.int64()),
        ("batches_seen", pa.bool_()),
        ("lost", pa.int64()),
    ]
)

_ENDPOINT = ("group", "index", "inode", "netns", "family", "laddr", "lport")

#: What each kind of row has beside time and seconds; there is one of ``interval`` in a batch.
UDP_ROWS: Mapping[str, tuple[str, ...]] = {
    "interval": ("lost", "flows_lost", "sample_one_in", "batches_seen"),
    "group": ("group", "netns", "laddr", "lport", "size", "order_known", "program"),
    "socket": (*_ENDPOINT, *READER_SUMS, *SOCKET_OWN),
    "reader": (*_ENDPOINT, "pid", "tid", "comm", *READER_SUMS),
    "flow": ("netns", "family", "laddr", "lport", "raddr", "rport", "samples"),
    "cell": ("alloc_cpu", "reader_cpu", "datagrams"),
}

#: Null in a row that has the column: not known, or of no group.
UDP_UNKNOWN = frozenset(
    {"group", "index", "netns", "family", "laddr", "raddr", "program", "batches", "batched"}
)

SCHEMAS: Mapping[Kind, pa.Schema] = {
    "accept": ACCEPT_SCHEMA,
    "skb": SKB_SCHEMA,
    "udp": UDP_SCHEMA,
}


@dataclass(frozen=True)
class Meta:
    """What was recorded, where, and how it ended.

    Attributes:
        format: Version of the file format.
        tool: Version of locality that recorded.
        host: Name of the machine.
        kernel: Its release, as of ``uname -r``.
        kind: accept, skb or udp.
        rung: The kind of probe that saw it.
        refused: The rungs refused before, each with the kernel's answer.
        unseen: What this rung does not show, in words; empty if nothing.
        filter: What was recorded, in words.
        label: What the one who recorded calls it, such as a phase of the lab.
        possible: Possible CPUs.
        online: CPUs in use when the recording began.
        distances: As `locality.machine.topology.Topology.distances`, as lists.
        clock_offset: CLOCK_MONOTONIC to UTC, ns.
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
    kind: Kind
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
        kind: Kind,
        footing: Footing,
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
            footing: Where the source stands.
            machine: This machine's CPUs.
            wanted: The filter, in words.
            label: What to call it.
            clock_offset: The source's own, if it has one: times are then exact both ways.
            interval: Seconds between readings of the counters.
        """
        if clock_offset is None:
            clock_offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        return cls(
            format=FORMAT_VERSION,
            tool=__version__,
            host=platform.node(),
            kernel=platform.release(),
            kind=kind,
            rung=footing.name,
            refused=tuple(f"{refusal.rung}: {refusal.answer}" for refusal in footing.refused),
            unseen=footing.rung.note,
            filter=wanted,
            label=label,
            possible=machine.possible,
            online=machine.online,
            distances=machine.distances.tolist(),
            clock_offset=clock_offset,
            started=time.time_ns(),
            interval=interval,
        )

    @property
    def machine(self) -> Topology:
        """The CPUs of the machine that was recorded."""
        return Topology(self.possible, self.online, np.array(self.distances, np.uint8))

    def schema(self) -> pa.Schema:
        """The schema of a recording with these metadata."""
        return SCHEMAS[self.kind].with_metadata({KEY: json.dumps(asdict(self)).encode()})

    @classmethod
    def from_schema(cls, schema: pa.Schema) -> Self:
        """The metadata of a recording.

        Raises:
            LocalityError: It is none, or of a format that is not known yet, or damaged.
        """
        said: Any = None
        try:
            said = json.loads((schema.metadata or {})[KEY])
            version = int(said["format"])
        except KeyError:
            raise LocalityError("it was not recorded by locality") from None
        except (TypeError, ValueError):
            raise LocalityError("its metadata are damaged") from None
        if version > FORMAT_VERSION:
            raise LocalityError(
                f"it is in format {version}, this locality {__version__} reads up to format "
                f"{FORMAT_VERSION}: install a newer one"
            )
        try:
            meta = cls._checked(said)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise LocalityError("its metadata are damaged") from None
        if not schema.equals(SCHEMAS[meta.kind]):
            raise LocalityError(f"its columns are not those of a recording of {meta.kind}")
        return meta

    @classmethod
    def _checked(cls, said: dict[str, Any]) -> Self:
        """From JSON that anybody may have written; what this version does not know is left out."""
        if said["kind"] not in SCHEMAS:
            raise ValueError(said["kind"])
        possible = int(said["possible"])
        distances = np.array(said["distances"], np.uint8)
        if distances.shape != (possible + 1,) * 2 or distances.max() > max(Distance):
            raise ValueError(distances.shape)
        interval = said["interval"]
        return cls(
            format=int(said["format"]),
            tool=str(said["tool"]),
            host=str(said["host"]),
            kernel=str(said["kernel"]),
            rung=str(said["rung"]),
            unseen=str(said["unseen"]),
            filter=str(said["filter"]),
            label=str(said["label"]),
            clock_offset=int(said["clock_offset"]),
            started=int(said["started"]),
            kind=said["kind"],
            refused=tuple(map(str, said["refused"])),
            possible=possible,
            online=tuple(map(int, said["online"])),
            distances=distances.tolist(),
            interval=None if interval is None else float(interval),
        )
