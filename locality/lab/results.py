"""The phases of the experiment as lines and a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from locality.lab.classic import classic_lines
from locality.lab.demo import phases
from locality.lab.expectations import Figure
from locality.skb.interval import RX, TX
from locality.text import kilo_rate, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.demo import PhaseResult
    from locality.lab.experiment import LocalLab
    from locality.lab.measure import Meter

PACKETS_NOTE = "deliv.: packets that a process read; local: consumed where they were allocated"


def opening(lab: LocalLab, meter: Meter, seconds: float) -> Iterator[str]:
    """What is about to be measured, and how."""
    cpus = ", ".join(map(str, lab.cpus))
    yield f"nginx with {len(lab.cpus)} workers on CPUs {cpus}"
    yield from lab.wire.lines()
    yield f"accepts: rung {meter.accepts.attachment.rung.name}"
    rung = meter.packets.attachment.rung.name
    yield f"{meter.whose_packets}: rung {rung} (? = not seen on it)"
    yield f"{len(phases(lab.cpus))} phases of {seconds:g} s under load:"


def closing(results: Sequence[PhaseResult], meter: Meter) -> Iterator[Text | Table | str]:
    """What was measured: every figure, what changed, and the lines of 2017."""
    yield ""
    yield phase_table(results)
    yield PACKETS_NOTE
    yield ""
    yield from change_lines(results)
    if meter.of_server:
        yield from not_counted_lines(results)
    yield ""
    yield from classic_lines(results[:2], meter.machine)


def phase_table(results: Sequence[PhaseResult]) -> Table:
    """One row for each phase of the lab; ``?`` where the rung cannot see a figure."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("phase")
    for heading in (
        "accept\nlocal",
        "must\nshow",
        "deliv.\nlocal",
        "must\nshow",
        "\nkpps",
        "sent\nlocal",
        "must\nshow",
        "\nkpps",
        "\nreq/s",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        skb = result.measurement.skb
        delivered = "?" if skb.delivered is None else kilo_rate(skb.delivered, skb.seconds)
        table.add_row(
            result.phase.name,
            *_share(result, Figure.ACCEPT, 2),
            *_share(result, Figure.DELIVERED, 1),
            delivered,
            *_share(result, Figure.SENT, 1),
            kilo_rate(skb.tx.packets, skb.seconds),
            f"{result.requests_per_second:,.0f}",
        )
    return table


def _share(result: PhaseResult, figure: Figure, digits: int) -> tuple[Text, str]:
    """A share, and what it must be where it is judged."""
    share = result.measurement.share(figure)
    if figure not in result.judged:
        return Text(percent(share, digits)), "-"
    style = "" if share is None else "green" if result.is_right(figure) else "red"
    return Text(percent(share, digits), style=f"bold {style}"), str(result.limits(figure))


def phase_line(result: PhaseResult) -> Text:
    """A phase in one line, as soon as it is over."""
    seen = result.measurement
    local = percent(seen.share(Figure.ACCEPT), 2)
    lost = f", {seen.lost} lost" if seen.lost else ""
    return Text(
        f"{result.phase.name:<9} {local:>8} of {seen.accepts} accepts{lost}: {result.phase.change}"
    )


def change_lines(results: Sequence[PhaseResult]) -> Iterator[Text]:
    """What the program changed, share by share: the first two phases side by side."""
    before, after = results[:2]
    for figure in before.judged:
        shares = (percent(each.measurement.share(figure), 2) for each in (before, after))
        yield Text(f"{figure.value}-local: {{}} before, {{}} after attach-cbpf".format(*shares))


def not_counted_lines(results: Sequence[PhaseResult]) -> Iterator[Text]:
    """How many packets are in no figure: nothing tells whose they are, or no probe saw them."""
    seen = [result.measurement.skb for result in results]
    rx, tx = (sum(each.not_told[direction] for each in seen) for direction in (RX, TX))
    yield Text(f"not told apart, so in no figure, machine-wide: {rx} received, {tx} sent")
    if lost := sum(each.lost for each in seen):
        yield Text(f"probe runs that the kernel skipped, each perhaps a packet: {lost}")
