"""What the report says of accepted connections: sentences, tables, figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.accept import figures
from locality.accept.workers import NO_MISSES, NO_RX_CPU
from locality.reporting import figures as draw
from locality.reporting.blocks import Measure, picture
from locality.reporting.page import Table
from locality.reporting.sections import distance_blocks, lost_events
from locality.text import counted, duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.accept.aggregate import AcceptAggregate
    from locality.accept.workers import Workers
    from locality.recording.recording import Recording
    from locality.reporting.blocks import Block, Named
    from locality.reporting.page import Section


def events(recording: Recording) -> int:
    """Connections."""
    return _sums(recording).count


def _sums(recording: Recording) -> AcceptAggregate:
    sums: AcceptAggregate = recording.aggregate
    return sums


def headline(recording: Recording) -> str:
    """How many were accepted, and how local."""
    sums = _sums(recording)
    what = f"{counted(sums.count, 'connection')} accepted"
    if not sums.count:
        return what
    of_all = percent(share(sums.local, sums.count), 2)
    return f"{what}, {of_all} on the CPU that received their packets"


def cautions(recording: Recording) -> Iterator[str]:
    """What was lost."""
    yield from lost_events(recording, "connection")


def blocks(prefix: str, recording: Recording) -> Iterator[Block]:
    """Figures and tables of a recording of accepts."""
    sums, machine = _sums(recording), recording.meta.machine
    yield picture(
        f"{prefix}local-over-time",
        "Connections accepted on their RX CPU, and connections a second, over time.",
        draw.local_over_time({"accept-local": sums.over_time.over_time()}, "accepts/s"),
    )
    first, second = draw.halves(machine)
    matrix, without = sums.matrix[:-1], int(sums.matrix[-1].sum())
    beside = f" Not in it: {counted(without, 'connection')} without RX CPU." if without else ""
    yield picture(
        f"{prefix}matrix",
        f"Connections by RX CPU and accept CPU; the diagonal is local."
        f"{draw.marks(machine)}{beside}",
        draw.heat_map(matrix, "RX CPU", "accept CPU", machine),
    )
    yield picture(
        f"{prefix}per-cpu",
        f"Connections by RX CPU ({first}) and by accept CPU ({second}).",
        draw.per_cpu(matrix, "RX CPU", "accept CPU", machine),
    )
    workers = sums.workers.table()
    columns = workers._asdict() | {"comm": [_text(comm) for comm in workers.comm]}
    yield picture(
        f"{prefix}workers", "Workers by accepts, the busiest first.", figures.workers_bars(columns)
    )
    yield _workers_table(workers)
    if workers.others:
        yield (
            f"There were too many workers to keep apart: {workers.others:,} connections of the "
            "least busy ones are not in this table."
        )
    if sums.waits.total:
        median, p99 = (duration(sums.waits.percentile(rank)) for rank in (50, 99))
        yield picture(
            f"{prefix}queue-wait",
            f"Time in the accept queue of {counted(sums.waits.total, 'connection')}: "
            f"median {median}, p99 {p99}.",
            figures.wait_distribution({"accepts": sums.waits.ascending(draw.MOST_POINTS)}),
        )
    else:
        yield "Time in the accept queue was not seen on this rung."
    yield from distance_blocks(prefix, recording, {"accepts": sums.by_distance}, "RX and accept")


def _text(comm: bytes) -> str:
    return comm.decode(errors="backslashreplace")


def _workers_table(workers: Workers) -> Table:
    rows = []
    for comm, pid, cpu, accepts, local, missed in zip(
        workers.comm[: draw.MOST_WORKERS],
        *(
            values[: draw.MOST_WORKERS].tolist()
            for values in (
                *(workers.pid, workers.cpu, workers.accepts, workers.local, workers.missed_from),
            )
        ),
        strict=True,
    ):
        away = {NO_MISSES: "-", NO_RX_CPU: "none"}.get(missed, str(missed))
        row = (f"{pid}", f"{cpu}", f"{accepts:,}", percent(share(local, accepts)), away)
        rows.append((_text(comm), *row))
    return Table(
        ("worker", "pid", "CPU", "accepts", "local", "misses mostly of RX CPU"), tuple(rows)
    )


MEASURES = (
    Measure(
        "accept-local",
        "accept",
        lambda recording: _sums(recording).over_time.over_time(),
        lambda recording: _sums(recording).by_distance,
    ),
)


def change_sections(_before: Sequence[Named], _after: Sequence[Named]) -> Iterator[Section]:
    """Nothing beside `MEASURES`."""
    yield from ()
