"""A recording played to the sinks that a live run has, in its own time or faster.

The sinks are given what they were given then, but for what a recording does not keep: a
time in queue that was not valid, and the padding.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from locality.accept.source import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.errors import LocalityError
from locality.skb.interval import RX, TX, Flow, Interval
from locality.stream import interruptible
from locality.udp.interval import UdpInterval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from locality.accept.source import Records
    from locality.arrays import Array
    from locality.recording.format import Meta
    from locality.recording.reader import Reader
    from locality.stream import Sink

#: Seconds between the batches of a replay in its own time, as in a live run.
TICK = 0.05

#: The columns of a recording that are fields of a record, too.
_NUMBERS = "cpu", "rxcpu", "pid", "tid", "listen_fd", "fd", "family", "lport", "rport", "netns"

B = TypeVar("B", AcceptBatch, Interval, UdpInterval)


def play(timed: Iterable[tuple[float, B]], sinks: Sequence[Sink[B]], speed: float = 0) -> None:
    """Hand batches to the sinks when they are due, until the end, SIGINT or SIGTERM.

    Args:
        timed: Each batch with the seconds after the recording's start at which it came.
        sinks: Each gets every batch, in this order.
        speed: How many times faster than it was; 0 does not wait at all.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
    """
    begin = time.monotonic()
    with interruptible() as wait:
        for seconds, batch in timed:
            due = begin + seconds / speed if speed else begin
            while True:
                if wait(due - time.monotonic()).stop:
                    return
                if time.monotonic() >= due:
                    break
            for sink in sinks:
                sink.write(batch)


def timed_accepts(reader: Reader, speed: float = 0) -> Iterator[tuple[float, AcceptBatch]]:
    """The connections of a recording.

    A recorder writes once a second. A replay in time cuts what it wrote into pieces as they
    were read then, and gives an empty one where nothing came.

    Args:
        reader: Of a recording of accepts.
        speed: As of `play`; 0 gives the batches as they were written.
    """
    tick = TICK * speed
    before = -1
    for rows in reader:
        batch = AcceptBatch(records_of(rows, reader.meta), reader.meta.clock_offset, reader.lost)
        if not speed:
            yield 0.0, batch
            continue
        ages = batch.records["time"].astype(np.int64) + (batch.clock_offset - reader.meta.started)
        # CPUs write side by side: a record may be a little older than the one before it.
        ticks = np.maximum.accumulate((ages / (tick * 10**9)).astype(np.int64).clip(min=before))
        numbers, first = np.unique(ticks.clip(min=0), return_index=True)
        pieces = np.split(batch.records, first[1:])
        for number, records in zip(numbers.tolist(), pieces, strict=True):
            for idle in range(before + 1, number):
                yield (idle + 1) * tick, batch.first(0)
            yield (number + 1) * tick, AcceptBatch(records, batch.clock_offset, batch.lost)
            before = number


def timed_intervals(reader: Reader) -> Iterator[tuple[float, Interval]]:
    """The intervals of a recording of packets."""
    for rows in reader:
        interval = interval_of(rows, reader.meta)
        yield interval.time - reader.meta.started / 10**9, interval


def records_of(rows: pa.RecordBatch, meta: Meta) -> Records:
    """The records behind rows of `locality.recording.format.ACCEPT_SCHEMA`.

    Raises:
        LocalityError: An address is none.
    """
    records = np.zeros(len(rows), ACCEPT)
    times = rows["time"].cast(pa.int64()).to_numpy()
    records["time"] = (times - meta.clock_offset).astype(np.uint64)
    for name in _NUMBERS:
        records[name] = rows[name].to_numpy()
    records["comm"] = _each(rows["comm"], np.array(rows["comm"].dictionary.to_pylist(), "S16"))
    for name in ("laddr", "raddr"):
        texts = rows[name].dictionary.to_pylist()
        try:
            raw = [_packed(text) for text in texts]
        except (OSError, ValueError):
            raise LocalityError("the recording is damaged: an address is none") from None
        packed = np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 16)
        records[name] = _each(rows[name], packed)
    records["wait"] = rows["wait_ns"].fill_null(0).to_numpy()
    records["flags"] = np.where(
        rows["wait_ns"].is_valid().to_numpy(zero_copy_only=False), WAIT_KNOWN, 0
    )
    return records


def _each(column: pa.DictionaryArray, values: Array) -> Array:
    """What each row of a column refers to."""
    return np.asarray(values[column.indices.to_numpy()])


def _packed(text: str) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(family, text).ljust(16, b"\0")


def interval_of(rows: pa.RecordBatch, meta: Meta) -> Interval:
    """The interval behind a batch of `locality.recording.format.SKB_SCHEMA`.

    Raises:
        LocalityError: It is not what a recorder writes.
    """
    is_total = pc.is_null(rows["alloc_cpu"])
    totals = rows.filter(is_total).to_pydict()
    if totals["direction"] != ["rx", "tx"] or totals["seconds"][0] <= 0:
        raise LocalityError("the recording is damaged: an interval has no totals")
    cells = rows.filter(pc.invert(is_total))
    matrix = np.zeros((2, meta.possible, meta.possible), np.int64)
    direction = cells["direction"].cast(pa.utf8()).to_numpy(zero_copy_only=False)
    where = (
        np.where(direction == "rx", RX, TX),
        cells["alloc_cpu"].to_numpy(),
        cells["consume_cpu"].to_numpy(),
    )
    matrix[where] = cells["packets"].to_numpy()
    rx, tx = (_flow(totals, each) for each in (RX, TX))
    return Interval(
        # Division of whole numbers gives the float that is nearest, which is what was recorded.
        time=rows["time"].cast(pa.int64())[0].as_py() / 10**9,
        seconds=totals["seconds"][0],
        rung=meta.rung,
        lost=totals["lost"][0],
        rx=rx,
        tx=tx,
        delivered=totals["delivered"][0],
        delivered_local=totals["delivered_local"][0],
        matrix=matrix,
        apart=(totals["apart"][RX], totals["apart"][TX]),
        together=(totals["together"][RX], totals["together"][TX]),
    )


def _flow(totals: dict[str, list[Any]], direction: int) -> Flow:
    names = "packets", "local", "freed_local", "deferred", "unknown"
    return Flow(**{name: totals[name][direction] for name in names})
