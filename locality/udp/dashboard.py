"""The dashboard of `locality udp`: who gets what now, from which CPU to which lately."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from locality.dashboard.frame import BAD, DIM, PLAIN, STRONG, Line, amount, grade, line
from locality.dashboard.heatmap import heat_map
from locality.dashboard.screen import Dashboard
from locality.dashboard.sparkline import Minute, sparkline
from locality.text import percent, share
from locality.udp.advice import cures
from locality.udp.balance import balances
from locality.udp.processing import rx_share, says_more
from locality.udp.text import advice, block, busiest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from locality.dashboard.screen import Header
    from locality.machine.topology import Topology
    from locality.udp.interval import UdpInterval

#: Lines that a heat map is worth drawing in.
_LEAST_MAP = 5


class UdpDashboard(Dashboard["UdpInterval"]):
    """Shows sockets and their readers, the busiest group first, interval by interval.

    Args:
        machine: Whose CPUs the matrix is of.
        header: Shown on top.
        console: A terminal.
    """

    title: ClassVar[str] = "udp"

    def __init__(self, machine: Topology, header: Header, console: Console) -> None:
        super().__init__(header, console)
        self._machine = machine
        self._seconds = 0.0
        self._minute = Minute()
        #: What is shown; never changed, only replaced: the last interval, all of them as one,
        #: and percent local in each of the last 60 seconds.
        self._view: tuple[UdpInterval, UdpInterval, Sequence[float | None]] | None = None

    def _take(self, batch: UdpInterval) -> bool:
        begin, self._seconds = self._seconds, self._seconds + batch.seconds
        known, local = (int(batch.sockets[name].sum()) for name in ("known", "local"))
        self._minute.add_span(begin, self._seconds, local, known)
        total = batch if self._view is None else self._view[1] + batch
        minute = self._minute.percents(int(self._seconds - 1e-9))
        self._view = (batch, total, minute)
        return True

    def _elapsed(self) -> float:
        return self._view[1].seconds if self._view else 0

    def _lost(self) -> int:
        return self._view[0].lost if self._view else 0

    def _body(self, width: int, height: int) -> list[Line]:
        if self._view is None:
            return [line(""), line("the first interval is not over yet")]
        now, total, minute = self._view
        lines = [
            _sums("now", now),
            _sums("since the start", total),
            line(("local ", DIM), f"{sparkline(minute)}", ("  0-100%", DIM)),
        ]
        for one in busiest(balances(now)):
            lines.append(line(""))
            title, heading, *rows = block(one, now, "")
            lines += [line((title, STRONG)), line((heading, DIM)), *map(line, rows)]
            style = BAD if cures(one) else PLAIN
            lines += [line((text, style)) for text in advice(one)]
        room = height - len(lines) - 1
        if room >= _LEAST_MAP:
            lines.append(line(""))
            lines += heat_map(now.matrix, self._machine, "alloc\\reader", width=width, height=room)
        return lines


def _sums(name: str, interval: UdpInterval) -> Line:
    datagrams, known, local, drops, refused = (
        int(interval.sockets[one].sum())
        for one in ("datagrams", "known", "local", "drops", "refused")
    )
    figure, processed = share(local, known), rx_share(interval.sockets)
    second = (
        [("  where processed ", DIM), (percent(processed), grade(processed))]
        if says_more(interval.sockets)
        else []
    )
    return line(
        (f"{name:15} ", DIM),
        f"{amount(datagrams / interval.seconds):>6} pps  local ",
        ("-" if not datagrams else percent(figure), grade(figure)),
        *second,
        f"  dropped {drops + refused}",
    )
