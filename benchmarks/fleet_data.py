"""A data set of many simulated hosts, resampled from real recordings.

    python -m benchmarks.fleet_data DIR [--hosts 1000] [--bad 20]

Real are: the connections of the lab's nginx with their times and rates, and the times that reads
waited (``--cost``: a recording of `locality cost`; without one, waits like those of the guide on
cost). Simulated are the CPUs: a host has 8, and which of them accepts what another one received is
what was planted. Each cause is written once by the real recorder as a recording of ten minutes and
exported by the real `locality export`; the bins of these exports are then drawn with replacement
for each host and each bin of a day, with a rate of the host's own.

``DIR/planted.json`` says which hosts are bad, and why.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import locality
from locality.accept.batch import ACCEPT, AcceptBatch, Records
from locality.accept.recording import AcceptRecorder
from locality.cost.bill import Bill
from locality.cost.histogram import bucket_of
from locality.cost.interval import READER, TIME, WAIT, CostInterval, summed
from locality.cost.recording import CostRecorder
from locality.dataset.schema import COUNT, EVIDENCE, PERIOD, PRICE, RECORDING, SCHEMA, SUMS, VERSION
from locality.dataset.store import Directory
from locality.dataset.write import add_recording, folder, parquet_of
from locality.fleet.causes import Cause
from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from locality.accept.batch import Records
    from locality.arrays import Array
    from locality.recording.format import Meta

RECORDED = Path(locality.__file__).parent / "lab/recorded/before.arrows"
DAY = "2026-11-20"
CPUS, BINS, BIN_S = 8, 288, 300
#: Of each template: seconds, connections a second, seconds of an interval of cost.
_SECONDS, _RATE, _STEP = 320, 100, 10
#: Reads of a connection; local and remote reads wait like this at the median, ns (guide on cost).
_READS, _LOCAL_NS, _REMOTE_NS = 4, 21_000, 33_000

Planted = dict[str, str]


def by_hash(_rxcpu: Array, draw: np.random.Generator, count: int) -> tuple[Array, Array]:
    worker = draw.integers(0, CPUS, count)
    return worker, worker


def not_pinned(_rxcpu: Array, draw: np.random.Generator, count: int) -> tuple[Array, Array]:
    return draw.integers(0, CPUS, count), draw.integers(0, CPUS, count)


def next_worker(rxcpu: Array, _draw: np.random.Generator, _count: int) -> tuple[Array, Array]:
    return (rxcpu + 1) % CPUS, (rxcpu + 1) % CPUS


def other_cpus(_rxcpu: Array, draw: np.random.Generator, count: int) -> tuple[Array, Array]:
    worker = draw.integers(CPUS // 2, CPUS, count)
    return worker, worker


def local(rxcpu: Array, draw: np.random.Generator, count: int) -> tuple[Array, Array]:
    """As after attach-cbpf: a few per thousand come to another worker, as a SYN elsewhere does."""
    worker = np.where(draw.random(count) < 0.004, draw.integers(0, CPUS, count), rxcpu)
    return worker, worker


#: How the worker (its thread, its CPU) follows from the RX CPU, and which CPUs receive.
CAUSES: dict[Cause, tuple[Callable[..., tuple[Array, Array]], int]] = {
    Cause.LOCAL: (local, CPUS),
    Cause.NO_PROGRAM: (by_hash, CPUS),
    Cause.NOT_PINNED: (not_pinned, CPUS),
    Cause.WRONG_WORKER: (next_worker, CPUS),
    Cause.NO_WORKER: (other_cpus, CPUS // 2),
    Cause.ONE_RX_CPU: (by_hash, 1),
}
BAD = tuple(cause for cause in CAUSES if cause is not Cause.LOCAL)


@cache
def machine(kind: str, started: int) -> Meta:
    """Of a machine with eight CPUs, four to a last-level cache."""
    distances = np.full((CPUS + 1, CPUS + 1), Distance.UNKNOWN, np.uint8)
    distances[:CPUS, :CPUS] = Distance.NODE
    distances[: CPUS // 2, : CPUS // 2] = distances[CPUS // 2 : CPUS, CPUS // 2 : CPUS] = (
        Distance.LLC
    )
    np.fill_diagonal(distances[:CPUS, :CPUS], Distance.CPU)
    meta = locality.load(RECORDED).meta
    return replace(
        meta,
        kind=kind,
        possible=CPUS,
        online=tuple(range(CPUS)),
        host="template",
        distances=distances.tolist(),
        started=started,
        clock_offset=started,
        interval=None if kind == "accept" else 1.0,
        ended=None,
        count=None,
    )


def connections(cause: Cause, draw: np.random.Generator) -> Records:
    """Connections that have the times of real ones, and CPUs by a cause."""
    real = locality.load(RECORDED).accepts
    gaps = np.diff(real.time.astype("int64").to_numpy())
    count = _SECONDS * _RATE
    times = np.cumsum(draw.choice(gaps / gaps.mean(), count)) * 1e9 / _RATE
    choose, receiving = CAUSES[cause]
    records = np.zeros(count, ACCEPT)
    records["time"] = times.astype("u8")
    records["rxcpu"] = draw.integers(0, receiving, count)
    thread, records["cpu"] = choose(records["rxcpu"], draw, count)
    records["pid"] = records["tid"] = 1000 + thread
    records["lport"], records["family"], records["comm"] = 80, 4, b"nginx"
    return records


def waits_of(recording: Path | None) -> tuple[Array, Array]:
    """Buckets of the times that local and remote reads waited, to draw from."""
    if recording is not None:
        times = locality.load(recording).cost.times
        waits = times[times.measure == "wait"]
        sides = (waits[waits.distance == "cpu"], waits[~waits.distance.isin(["cpu", "unknown"])])
        drawn = [np.repeat(side.ns.to_numpy(), side["count"].to_numpy()) for side in sides]
        if all(map(len, drawn)):
            one, other = (np.array([bucket_of(int(ns)) for ns in side]) for side in drawn)
            return one, other
    draw = np.random.default_rng(7)
    one, other = (
        np.array([bucket_of(int(ns)) for ns in draw.lognormal(np.log(median), 0.6, 20_000)])
        for median in (_LOCAL_NS, _REMOTE_NS)
    )
    return one, other


def times(
    records: Array, second: int, waits: tuple[Array, Array], draw: np.random.Generator
) -> Array:
    """The reads of the connections of one interval, each with a wait: dtype `TIME`."""
    distances = np.array(machine("cost", 1).distances, np.uint8)
    own = records[(records["time"] // 10**9 // _STEP * _STEP) == second]
    distance = np.repeat(distances[own["rxcpu"], own["cpu"]], _READS)
    found = np.zeros(len(distance), TIME)
    found["measure"], found["distance"], found["count"] = WAIT, distance, 1
    for side, remote in enumerate((False, True)):
        which = (distance != Distance.CPU) == remote
        found["bucket"][which] = draw.choice(waits[side], int(which.sum()))
    return summed(found)


Template = dict[tuple[str, str], pa.Table]
"""What a cause exports, by kind and part."""


def templates(folder_: Path, cost: Path | None, day: str) -> dict[Cause, Template]:
    """What each cause exports."""
    draw = np.random.default_rng(20171109)
    began = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9
    waits = waits_of(cost)
    found = {}
    for cause in CAUSES:
        records = connections(cause, draw)
        root = folder_ / cause.name
        with AcceptRecorder(root.with_suffix(".accept"), machine("accept", began)) as recorder:
            recorder.write(AcceptBatch(records, began, 0))
        with CostRecorder(root.with_suffix(".cost"), machine("cost", began)) as recorder:
            for second in range(0, _SECONDS, _STEP):
                reader = np.zeros(1, READER)
                reader["port"], reader["protocol"], reader["comm"] = 80, 6, b"nginx"
                reader["pid"] = 1000
                made = times(records, second, waits, draw)
                end = began / 1e9 + second + _STEP
                interval = CostInterval(end, float(_STEP), "fentry", 0, 0, reader, made, Bill())
                recorder.write(interval)
        for kind in ("accept", "cost"):
            add_recording(root.with_suffix(f".{kind}"), Directory(root))
        files = sorted(root.rglob("*.parquet"))
        whole = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
        found[cause] = {
            (kind, part): whole.filter(
                pc.and_(pc.equal(whole["part"], part), pc.equal(whole["kind"], kind))
            ).combine_chunks()
            for kind in ("accept", "cost")
            for part in (PERIOD, COUNT, PRICE, RECORDING, EVIDENCE)
        }
    return found


def host_table(template: Template, name: str, kind: str, seed: int, day: str) -> pa.Table:
    """A day of one host: bins of a template, drawn anew, with a rate of the host's own.

    A template has bins of 30 seconds; ten of them make one of a day.
    """
    draw = np.random.default_rng(seed)
    host_rate = draw.lognormal(0, 0.5)
    # A day has a shape.
    shape = 1 + 0.5 * np.sin(np.linspace(0, 2 * np.pi, BINS))
    scale = host_rate * shape * draw.lognormal(0, 0.1, BINS)
    began = datetime.fromisoformat(day).replace(tzinfo=UTC)
    times = np.datetime64(began.replace(tzinfo=None), "us") + np.arange(BINS) * np.timedelta64(
        BIN_S, "s"
    )
    parts = []
    for part in (PERIOD, COUNT, PRICE):
        rows = template[kind, part]
        if not len(rows):
            continue
        drawn = draw.integers(0, len(rows), (10, BINS))
        table = rows.take(pa.array(drawn[0]))
        table = _set(table, "time", pa.array(times, pa.timestamp("us", "UTC")))
        if part == PERIOD:
            table = _set(table, "seconds", pa.array(np.full(BINS, float(BIN_S))))
        sums = {COUNT: SUMS, PRICE: ("timed_local", "timed_remote"), PERIOD: ()}[part]
        for column in sums:
            values = rows[column].to_numpy()[drawn].sum(axis=0)
            table = _set(table, column, pa.array(draw.poisson(values * scale).astype(np.int64)))
        parts.append(table)
    parts += [template[kind, RECORDING], template[kind, EVIDENCE]]
    whole = pa.concat_tables(parts)
    recording = f"{seed:012x}{'0123'[['accept', 'cost'].index(kind)]}000"
    whole = _set(whole, "host", pa.array([name] * len(whole)))
    return _set(whole, "recording", pa.array([recording] * len(whole)))


def _set(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    place = SCHEMA.get_field_index(column)
    return table.set_column(place, SCHEMA.field(column), values.cast(SCHEMA.field(column).type))


def write_host(
    root: Path, day: str, found: dict[Cause, Template], host: tuple[int, str, Cause]
) -> int:
    """Write the files of one host; gives their bytes."""
    number, name, cause = host
    size = 0
    for kind in ("accept", "cost"):
        table = host_table(found[cause], name, kind, 1_000_003 * number + hash_of(day), day)
        recording = table["recording"][0].as_py()
        note = json.dumps({"version": VERSION, "recording": recording, "bytes": 0})
        contents = parquet_of(table.combine_chunks(), note)
        below = root / f"dt={day}" / folder("cluster", "sim") / folder("host", name)
        below.mkdir(parents=True, exist_ok=True)
        (below / f"{kind}-{recording}.parquet").write_bytes(contents)
        size += len(contents)
    return size


def hash_of(day: str) -> int:
    return int(day.replace("-", ""))


def make(root: Path, hosts: int, bad: int, cost: Path | None, day: str = DAY) -> Planted:
    """Write a data set; gives the bad hosts with the cause that was planted in each."""
    draw = np.random.default_rng(1)
    which = {
        int(place): BAD[one % len(BAD)] for one, place in enumerate(draw.permutation(hosts)[:bad])
    }
    causes = [
        (number, f"web{number:05}", which.get(number, Cause.LOCAL)) for number in range(hosts)
    ]
    with tempfile.TemporaryDirectory() as folder_:
        found = templates(Path(folder_), cost, day)
    # Two processes with a thread each: a table of one host is too small for more threads.
    with ProcessPoolExecutor(2, initializer=pa.set_cpu_count, initargs=(1,)) as pool:
        sizes = [*pool.map(partial(write_host, root, day, found), causes, chunksize=25)]
    planted = {name: cause.name for _, name, cause in causes if cause is not Cause.LOCAL}
    print(f"{hosts} hosts, {sum(sizes):,} bytes: {sum(sizes) / hosts:,.0f} a host and day")
    return planted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--bad", type=int, default=20)
    parser.add_argument("--cost", type=Path)
    parser.add_argument("--day", default=DAY)
    asked = parser.parse_args()
    planted = make(asked.root, asked.hosts, asked.bad, asked.cost, asked.day)
    (asked.root / "planted.json").write_text(json.dumps(planted, indent=1) + "\n")


if __name__ == "__main__":
    main()
