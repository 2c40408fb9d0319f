"""`locality udp` in readable lines of 80 columns: a block for each group, or lone socket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from locality.stream import Output
from locality.text import clipped, kilo_rate, percent, printable, share, wrap
from locality.udp.advice import concentration, cures, meaning
from locality.udp.balance import balances
from locality.udp.processing import processed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.machine.topology import Topology
    from locality.summary import Summary
    from locality.udp.balance import Balance
    from locality.udp.interval import UdpInterval

#: The busiest are shown; JSON and CSV have all.
MOST_BLOCKS = 12
MOST_SOCKETS = 32
MOST_READERS = 8
WORKER_WIDTH = 20

_WIDTHS = (3, -WORKER_WIDTH, 8, 6, 8, 6, 7, 6, 5)
_HEADING = ("idx", "worker/tid", "kpps", "share", "Mbit/s", "local", "drops", "peak", "batch")


class TextUdp(Output["UdpInterval"]):
    """The blocks of each interval."""

    def __init__(self, out: TextIO, machine: Topology) -> None:
        super().__init__(out, machine)
        self._lost = 0

    def write(self, batch: UdpInterval) -> None:
        """Write an interval."""
        clock = time.strftime("%H:%M:%S", time.localtime(batch.time))
        lost = f", {batch.lost - self._lost} lost" if batch.lost > self._lost else ""
        self._lost = batch.lost
        found = balances(batch)
        if not found:
            self._out.write(f"{clock} no datagrams{lost}\n")
        elif lost:
            self._out.write(f"{clock}{lost}\n")
        for line in _blocks(found, batch, clock):
            self._out.write(line + "\n")
        self._out.flush()


def summary_lines(summary: Summary[UdpInterval]) -> Iterator[str]:
    """The summary of a run of `locality udp`."""
    total = summary.total
    if total is None:
        yield "no interval was over"
        return
    yield f"{total.seconds:.1f} s on rung {printable(total.rung)}, {total.lost} lost"
    sockets = total.sockets
    datagrams, known, local, drops, refused = (
        int(sockets[name].sum()) for name in ("datagrams", "known", "local", "drops", "refused")
    )
    if not datagrams + drops + refused:
        yield "no datagrams"
        return
    yield (
        f"{datagrams} datagrams read, {percent(share(local, known), 2)} on the CPU that "
        f"allocated them, {drops} dropped"
    )
    if (words := processed(sockets, 2)) is not None:
        yield from wrap(words, "  ")
    if refused:
        yield f"{refused} more dropped for lack of UDP memory: sysctl net.ipv4.udp_mem"
    if known < datagrams:
        yield f"of {datagrams - known} the alloc CPU is not known"
    sampled = int(sockets["sampled"].sum())
    if sampled:
        yield (
            f"flows: 1 datagram in {total.sample_one_in} sampled: {sampled} of "
            f"{int(sockets['seen'].sum())} seen, {total.flows_lost} lost"
        )
    found = balances(total)
    for one in busiest(found):
        yield ""
        yield from block(one, total, "")
        yield from advice(one)
    if len(found) > MOST_BLOCKS:
        yield f"… and {len(found) - MOST_BLOCKS} more: use --port, or --format json"


def busiest(found: list[Balance]) -> list[Balance]:
    """The groups and sockets that are shown, most datagrams first."""
    return sorted(found, key=lambda one: -int(one.counts.sum()))[:MOST_BLOCKS]


def _blocks(found: list[Balance], interval: UdpInterval, clock: str) -> Iterator[str]:
    for one in busiest(found):
        yield from block(one, interval, f"{clock} ")
        if words := concentration(one):
            yield from wrap(words, " " * 4, first="  ")
    if len(found) > MOST_BLOCKS:
        yield f"… and {len(found) - MOST_BLOCKS} more: use --port, or --format json"


def advice(one: Balance) -> Iterator[str]:
    """The single flow, what it means and what helps."""
    words = concentration(one)
    if words is None:
        return
    top = one.top_flow
    samples = f" ({top.samples} of {top.of} samples)" if top else ""
    yield from wrap(words + samples, " " * 4, first="  ")
    if (means := meaning(one)) is not None:
        yield from wrap(means, " " * 4, first="  ")
    for cure in cures(one):
        yield f"  cure: {cure.command}"
        yield from wrap(f"costs: {cure.cost}", " " * 6, first=" " * 4)


def block(one: Balance, interval: UdpInterval, clock: str) -> Iterator[str]:
    """A group, its sockets and their readers."""
    yield from wrap(f"{clock}{_title(one, interval)}", "  ")
    yield _line(_Row(*_HEADING))
    total = int(one.counts.sum())
    for socket, count in zip(one.sockets[:MOST_SOCKETS], one.counts.tolist(), strict=False):
        readers = one.readers[one.readers["inode"] == socket["inode"]]
        place = str(socket["index"]) if socket["index"] >= 0 else "-"
        names = [_worker(reader) for reader in readers]
        worker = f"{len(names)} readers" if len(names) > 1 else (names or ["-"])[0]
        yield _line(
            _row(place, worker, socket, share(count, total), interval)._replace(
                drops=f"{socket['drops'] + socket['refused']}", peak=f"{socket['peak']}"
            )
        )
        if len(names) > 1:
            most = readers[(-readers["datagrams"].astype("i8")).argsort(kind="stable")]
            for reader in most[:MOST_READERS]:
                part = share(int(reader["datagrams"]), total)
                yield _line(_row("", f" {_worker(reader)}", reader, part, interval))
            if len(names) > MOST_READERS:
                yield f"      … and {len(names) - MOST_READERS} more readers"
    if (words := processed(one.sockets)) is not None:
        yield from wrap(words, " " * 4, first="  ")
    if len(one.sockets) > MOST_SOCKETS:
        yield f"  … and {len(one.sockets) - MOST_SOCKETS} more sockets"


def _title(one: Balance, interval: UdpInterval) -> str:
    """What is, and how it is distributed: ``udp 0.0.0.0:53, 4 sockets, max/mean 1.02, …``."""
    parts = [one.name]
    if one.group is not None:
        shown = len(one.sockets)
        of = f"{shown} of {one.group.size}" if shown < one.group.size else f"{shown}"
        parts.append(f"{of} socket" + ("s" if one.group.size > 1 else ""))
    parts.append(f"{kilo_rate(int(one.counts.sum()), interval.seconds)} kpps")
    if len(one.sockets) > 1 and one.imbalance is not None and one.effective is not None:
        parts.append(f"max/mean {one.imbalance:.2f}, effective {one.effective:.2f}")
    return printable(", ".join(parts))


class _Row(NamedTuple):
    place: str
    worker: str
    kpps: str
    share: str
    mbits: str
    local: str
    drops: str
    peak: str
    batch: str


def _row(
    place: str,
    worker: str,
    counted: Any,  # noqa: ANN401 - numpy.void
    part: float | None,
    interval: UdpInterval,
) -> _Row:
    datagrams, known, batches = (int(counted[name]) for name in ("datagrams", "known", "batches"))
    batch = "-" if interval.batches_seen else "?"
    if batches:
        batch = f"{int(counted['batched']) / batches:.1f}"
    return _Row(
        place=place,
        worker=worker,
        kpps=kilo_rate(datagrams, interval.seconds),
        share="-" if part is None else percent(part),
        mbits=f"{int(counted['bytes']) * 8 / interval.seconds / 1e6:.1f}",
        local="-" if not datagrams else percent(share(int(counted["local"]), known)),
        drops="",
        peak="",
        batch=batch,
    )


def _line(row: _Row) -> str:
    cells = (f"{value:{'<' if width < 0 else '>'}{abs(width)}}" for value, width in _pairs(row))
    return f"  {' '.join(cells)}".rstrip()


def _pairs(row: _Row) -> Iterator[tuple[str, int]]:
    return zip(row, _WIDTHS, strict=True)


def _worker(reader: Any) -> str:  # noqa: ANN401 - numpy.void
    tid = f"/{reader['tid']}"
    return clipped(printable(reader["comm"]), WORKER_WIDTH - 1 - len(tid)) + tid
