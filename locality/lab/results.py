"""The phases of the experiment as lines and a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from locality.text import percent, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.lab.demo import PhaseResult
    from locality.skb.interval import Flow


def phase_table(results: Sequence[PhaseResult]) -> Table:
    """One row for each phase of the lab; ``?`` where the rung cannot see a figure."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("phase")
    for heading in (
        "accept\nlocal",
        "must\nshow",
        "rx\nlocal",
        "rx\nfreed",
        "rx\nkpps",
        "tx\nlocal",
        "tx\nfreed",
        "tx\nkpps",
        "requests\nper s",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        seen = result.measurement
        accept_local = percent(share(seen.accept_local, seen.accepts), 2)
        table.add_row(
            result.phase.name,
            Text(accept_local, style="bold green" if result.as_expected else "bold red"),
            result.phase.expectation,
            *_flow(seen.skb.rx, seen.skb.seconds),
            *_flow(seen.skb.tx, seen.skb.seconds),
            f"{result.requests_per_second:,.0f}",
        )
    return table


def _flow(flow: Flow, seconds: float) -> tuple[str, str, str]:
    return (
        percent(share(flow.local, flow.known)),
        percent(share(flow.freed_local, flow.packets)),
        f"{flow.packets / seconds / 1000:.0f}",
    )


def phase_line(result: PhaseResult) -> Text:
    """A phase in one line, as soon as it is over."""
    seen = result.measurement
    local = percent(share(seen.accept_local, seen.accepts), 2)
    lost = f", {seen.lost} lost" if seen.lost else ""
    return Text(
        f"{result.phase.name:<9} {local:>8} of {seen.accepts} accepts{lost}: {result.phase.change}"
    )


def change_line(results: Sequence[PhaseResult]) -> Text:
    """What the program changed: the first two phases side by side."""
    before, after = (
        percent(share(result.measurement.accept_local, result.measurement.accepts), 2)
        for result in results[:2]
    )
    return Text(f"accept-local: {before} before, {after} after attach-cbpf")
