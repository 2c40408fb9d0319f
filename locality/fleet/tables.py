"""The tables of a fleet as rows of text: the text output and the page show the same ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from locality.fleet.causes import Cause
from locality.text import duration, percent, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.fleet.changes import Change
    from locality.fleet.effects import Outcome
    from locality.fleet.hosts import Figure, Host, Price
    from locality.fleet.study import Fleet


class Rows(NamedTuple):
    """A table.

    Attributes:
        heading: Of its columns.
        rows: Their cells.
        more: How many rows were left out.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int = 0


def host_rows(fleet: Fleet, most: int) -> Rows:
    """The hosts in their order."""
    reads = fleet.asked.measure == "reads"
    heading = ("host", "local", "95 % interval", "attainable", "a second", "gives back")
    rows = [
        (
            name_of(host),
            percent_of(host.share),
            interval(host.low, host.high),
            percent_of(host.attainable),
            rate(host.rate),
            waiting(host.waiting) if reads and host.waiting is not None else events(host.back),
        )
        for host in fleet.hosts[:most]
    ]
    return Rows(heading, tuple(rows), max(0, len(fleet.hosts) - most))


def cause_rows(fleet: Fleet, most: int) -> Rows:
    """The causes of the hosts in their order."""
    rows = [
        (
            name_of(host),
            "?" if host.cause is None else host.cause.value,
            printable(host.server) or "?",
        )
        for host in fleet.hosts[:most]
        if host.cause is not Cause.LOCAL
    ]
    return Rows(("host", "cause", "server"), tuple(rows))


def shared_rows(fleet: Fleet, most: int) -> Rows:
    """The causes with their hosts."""
    rows = [
        (
            str(len(one.hosts)),
            one.cause.value,
            printable(one.server),
            one.cause.remedy(one.port),
            names(one.hosts),
        )
        for one in fleet.shared[:most]
    ]
    more = max(0, len(fleet.shared) - most)
    return Rows(("hosts", "cause", "server", "go on with", "which"), tuple(rows), more)


def change_rows(found: Sequence[Change], most: int) -> Rows:
    """Hosts that changed."""
    rows = [
        (
            name_of(one.after),
            percent_of(one.before.share),
            percent_of(one.after.share),
            f"{one.points:+.1f}",
            f"{one.low:+.1f} to {one.high:+.1f}",
        )
        for one in found[:most]
    ]
    heading = ("host", "before", "now", "points", "95 % interval")
    return Rows(heading, tuple(rows), max(0, len(found) - most))


def effect_rows(found: Sequence[Outcome]) -> Rows:
    """The outcomes of trials."""
    heading = ("outcome", "hosts", "trials", "effect", "95 % interval", "verdict", "hosts differ")
    return Rows(heading, tuple(map(_effect_row, found)))


def _effect_row(one: Outcome) -> tuple[str, ...]:
    name = printable(one.name)
    counts = (str(one.hosts), str(one.trials))
    if one.combined is not None:
        mean, low, high = one.combined.mean, one.combined.low, one.combined.high
        differ = f"I² {one.combined.i2:.0f} %, tau {math.sqrt(one.combined.tau2):.3g}"
    elif one.only is not None:
        (mean, low, high), differ = one.only, "one trial"
    else:
        return (name, *counts, "?", "?", one.verdict, "?")
    ends = f"{effect(low, one)} to {effect(high, one)}"
    return (name, *counts, effect(mean, one), ends, one.verdict, differ)


def effect(value: float, of: Outcome) -> str:
    """An effect for people: a share of A's value, or a difference with its unit."""
    if of.scale == "relative":
        return f"{100 * math.expm1(min(value, 700.0)):+.1f} %"
    return f"{value:+.3g} {printable(of.unit)}".rstrip()


def name_of(host: Host) -> str:
    """Cluster and host."""
    return printable(f"{host.cluster}/{host.name}" if host.cluster else host.name)


def names(hosts: Sequence[Host], most: int = 5) -> str:
    """Several of them."""
    shown = ", ".join(name_of(host) for host in hosts[:most])
    return f"{shown}, {len(hosts) - most} more" if len(hosts) > most else shown


def percent_of(share: float | None) -> str:
    """A share of 0 to 1."""
    return percent(None if share is None else 100 * share)


def interval(low: float | None, high: float | None) -> str:
    """The ends of a share of 0 to 1."""
    if low is None or high is None:
        return "?"
    return f"{percent_of(low)} to {percent_of(high)}"


def rate(value: float | None) -> str:
    """Events a second."""
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004


def events(figure: Figure | None) -> str:
    """Events a second that could become local."""
    if figure is None:
        return "?"
    ends = ""
    if figure.low is not None:
        ends = f" ({rate(figure.low)} to {rate(figure.high)})"
    return f"{rate(figure.value)}/s{ends}"


def waiting(figure: Figure) -> str:
    """Waiting a second that could be saved."""
    ends = ""
    if figure.low is not None:
        ends = f" ({duration(figure.low)} to {duration(figure.high)})"
    return f"{duration(figure.value)}/s{ends}"


def price_text(price: Price | None) -> str:
    """What a remote read costs in the fleet, in words."""
    if price is None:
        return "How much later remote reads come is not known: there are no recordings of cost."
    later = price.later
    ends = ""
    if later.low is not None and later.high is not None:
        ends = f", 95 % interval {_signed(later.low)} to {_signed(later.high)}"
    return (
        f"A remote read comes {_signed(later.value)} later than a local one (median, mean over "
        f"hosts{ends}). This is observed and not yet proof: locality trial proves it."
    )


def _signed(ns: float) -> str:
    return f"-{duration(-ns)}" if ns < 0 else duration(ns)
