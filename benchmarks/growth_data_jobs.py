"""What growth measures of data, one job a process: ``python growth_data_jobs.py JOB [WORD]...``.

Which checkout is measured is said by PYTHONPATH, so this file uses only what both have. It prints
one JSON object: figures by name. CPU time is that of the process, from its start.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from locality.machine.topology import Distance, Topology
from locality.recording.format import Meta

try:
    from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
except ImportError:  # an earlier checkout
    from locality.accept.source import (  # type: ignore[attr-defined, no-redef]
        ACCEPT,
        WAIT_KNOWN,
        AcceptBatch,
    )

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NODE_CPUS, CACHE_CPUS = 64, 8
CLIENTS = 500
#: Connections a second, as a recorder writes them at once.
BATCH = 100_000
#: Batches of a sink's measurement have this many connections in all.
SINK_ROWS = 200_000
#: Pairs of CPUs with many packets, in a heat map.
HOT = 60


def machine(cpus: int) -> Topology:
    """Nodes of 64 CPUs with caches for 8; a core has two."""
    number = np.arange(cpus)
    distances = np.full((cpus + 1, cpus + 1), Distance.UNKNOWN, np.uint8)
    distances[:cpus, :cpus] = Distance.REMOTE
    for size, level in (
        (NODE_CPUS, Distance.NODE),
        (CACHE_CPUS, Distance.LLC),
        (2, Distance.CORE),
        (1, Distance.CPU),
    ):
        group = number // size
        distances[:cpus, :cpus][group[:, None] == group] = level
    return Topology(cpus, tuple(range(cpus)), distances)


def meta(kind: str, of: Topology) -> Meta:
    """Of a recording without a probe."""
    nothing: Any = SimpleNamespace(name="fentry", refused=(), rung=SimpleNamespace(note=""))
    return Meta.here(kind, nothing, of, clock_offset=0, interval=None if kind == "accept" else 1.0)


def matrices(cpus: int, kind: str, count: int) -> list[NDArray[np.int64]]:
    """Packets by direction and two CPUs, an interval each.

    Args:
        cpus: Of the machine.
        kind: ``all``: all pairs have some packets, as many as chance gives around a mean of two.
            ``busy``: all have 1 to 499. ``some``: a tenth of the pairs have around 100.
        count: How many intervals.
    """
    chance = np.random.default_rng(2017)
    shape = (2, cpus, cpus)
    made = []
    for _ in range(count):
        if kind == "all":
            made.append(chance.poisson(2, shape))
        elif kind == "busy":
            made.append(chance.integers(1, 500, shape))
        else:
            made.append(chance.poisson(100, shape) * (chance.random(shape) < 0.1))
    return made


def record_skb(path: str, cpus: str, kind: str, count: str) -> dict[str, float]:
    """Record intervals of packets; gives megabytes an hour, and CPU time an interval."""
    from locality.skb.interval import Flow, Interval
    from locality.skb.recording import SkbRecorder

    of = machine(int(cpus))
    intervals = []
    for number, matrix in enumerate(matrices(int(cpus), kind, int(count))):
        rx, tx = (Flow(int(counts.sum()), int(np.trace(counts)), None, 30, 4) for counts in matrix)
        end = 1.7e9 + number
        intervals.append(Interval(end, 1.0, "fentry", 0, rx, tx, 500, 400, matrix))
    with SkbRecorder(Path(path), meta("skb", of), force=True) as recorder:
        # Without the head of the file, which is there once.
        head = Path(path).stat().st_size
        begin = time.process_time()
        for interval in intervals:
            recorder.write(interval)
        seconds = time.process_time() - begin
        size = Path(path).stat().st_size - head
    every = len(intervals)
    return {
        "MB an hour": size / every * 3600 / 1e6,
        "least": sum(map(_entropy, intervals)) / every * 3600 / 1e6,
        "ms an interval": 1000 * seconds / every,
    }


def _entropy(interval: Any) -> float:  # noqa: ANN401 - an Interval of whichever checkout
    """Bytes that the counts of an interval need, if each is drawn by itself."""
    counts = np.bincount(interval.matrix.ravel())
    share = counts[counts > 0] / interval.matrix.size
    return float(-(share * np.log2(share)).sum() * interval.matrix.size / 8)


def accepts(count: int, cpus: int) -> NDArray[np.void]:
    """Connections to a worker on each CPU, from some hundred clients; the time is left at zero."""
    chance = np.random.default_rng(2017)
    records = np.zeros(count, ACCEPT)
    worker = chance.integers(cpus, size=count)
    records["wait"] = chance.exponential(20_000, count)
    records["flags"] = WAIT_KNOWN
    records["cpu"], records["rxcpu"] = worker, chance.integers(cpus, size=count)
    records["pid"] = records["tid"] = 29_333 + worker
    records["comm"] = b"nginx"
    records["listen_fd"] = 3 + worker
    records["fd"] = chance.integers(8, 72, count)
    records["family"] = 4
    records["laddr"][:, :4] = (198, 18, 0, 1)
    records["lport"] = 8080
    client = chance.integers(CLIENTS, size=count)
    records["raddr"][:, :2] = (198, 18)
    records["raddr"][:, 2], records["raddr"][:, 3] = 1 + client // 250, client % 250
    records["rport"] = chance.integers(1024, 65536, count)
    records["netns"] = 4_026_531_840
    return records


def record_accepts(path: str, count: str) -> dict[str, float]:
    """Record connections; gives bytes each, and CPU time."""
    from locality.accept.recording import AcceptRecorder

    rows, of = int(count), machine(2)
    batch = min(rows, BATCH)
    records = accepts(batch, of.possible)
    begin = time.process_time()
    with AcceptRecorder(Path(path), meta("accept", of), force=True) as recorder:
        for second in range(rows // batch):
            records["time"] = second * 10**9 + np.arange(batch) * (10**9 // batch)
            recorder.write(AcceptBatch(records.copy(), clock_offset=0, lost=0))
    us = (time.process_time() - begin) / rows * 1e6
    return {"bytes each": Path(path).stat().st_size / rows, "us each": us, "MB": _peak()}


def report(format_: str, out: str, *paths: str) -> dict[str, float]:
    """Write a report; as Markdown it has no figures, so that is reading and adding up."""
    from locality.report import write_report

    write_report([Path(path) for path in paths], Path(out), format=format_, force=True)  # type: ignore[arg-type]
    return {"s": time.process_time(), "MB": _peak()}


def load(path: str, *columns: str) -> dict[str, float]:
    """Load whole frames, or some columns."""
    import locality

    some: dict[str, Any] = {"columns": columns} if columns else {}
    locality.load(path, **some)
    return {"s": time.process_time(), "MB": _peak()}


def chunks(path: str) -> dict[str, float]:
    """Load frames piece by piece."""
    import locality

    for piece in locality.load_chunks(path):
        assert len(piece.accepts)
    return {"s": time.process_time(), "MB": _peak()}


def export(path: str, out: str) -> dict[str, float]:
    """Export a recording."""
    from locality.recording.export import export as write

    begin = time.process_time()
    rows = write(Path(path), Path(out), force=True)
    return {"s a million": (time.process_time() - begin) / rows * 1e6, "MB": _peak()}


def sink(name: str, size: str) -> dict[str, float]:
    """Print connections in batches of a size; gives CPU time each."""
    from locality.accept.summary import AcceptSummary
    from locality.kinds import ACCEPT

    of, rows = machine(2), int(size)
    whole = accepts(SINK_ROWS, of.possible)
    whole["time"] = np.arange(SINK_ROWS) * 50_000
    batches = [
        AcceptBatch(whole[first : first + rows], clock_offset=1_700_000_000 * 10**9, lost=0)
        for first in range(0, SINK_ROWS, rows)
    ]
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        writes: Any = (
            AcceptSummary(of) if name == "summary" else ACCEPT.outputs[name].get()(nowhere, of)
        )
        writes.write(batches[0])
        begin = time.process_time()
        for batch in batches:
            writes.write(batch)
        return {"us each": (time.process_time() - begin) / SINK_ROWS * 1e6}


def hot_pairs(cpus: str) -> dict[str, float]:
    """Draw a heat map with 60 hot pairs of CPUs; gives how many are to be seen, and CPU time."""
    import io

    from matplotlib.image import imread

    from locality.reporting import figures

    count = int(cpus)
    hot = np.random.default_rng(2017).choice((count // 8) ** 2, HOT, replace=False)
    matrix = np.zeros((count, count), np.int64)
    # Not in the same cell, and not beside each other.
    matrix[hot // (count // 8) * 8, hot % (count // 8) * 8] = 5000
    arguments: list[Any] = [matrix, "RX CPU", "accept CPU"]
    if "machine" in inspect.signature(figures.heat_map).parameters:
        arguments.append(machine(count))
    begin = time.process_time()
    figure = figures.heat_map(*arguments)
    figures.svg(figure)
    seconds = time.process_time() - begin
    left, bottom, right, top = figure.axes[0].get_position().extents
    picture = imread(io.BytesIO(figures.png(figure)))[..., :3]
    height, width = picture.shape[:2]
    inside = picture[
        int((1 - top) * height) : int((1 - bottom) * height), int(left * width) : int(right * width)
    ]
    # Lines are grey; what was counted has a colour.
    coloured = inside.max(axis=2) - inside.min(axis=2) > 0.1
    return {"pairs": float(_spots(coloured)), "s": seconds}


def _spots(seen: NDArray[np.bool_]) -> int:
    """How many groups of neighbouring pixels there are."""
    left = {(int(row), int(column)) for row, column in np.argwhere(seen)}
    spots = 0
    while left:
        spots += 1
        edge = [left.pop()]
        while edge:
            row, column = edge.pop()
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
            edge += near & left
            left -= near
    return spots


def _peak() -> float:
    """The largest resident size so far, in MB; not that of the parent before the exec."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


JOBS: dict[str, Callable[..., dict[str, float]]] = {
    "record-skb": record_skb,
    "record-accepts": record_accepts,
    "report-page": partial(report, "html"),
    "report-numbers": partial(report, "md"),
    "load": load,
    "chunks": chunks,
    "export": export,
    "sink": sink,
    "hot-pairs": hot_pairs,
}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])))
