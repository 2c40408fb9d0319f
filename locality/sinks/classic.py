"""The lines of the 2017 scripts, byte for byte: scripts and memory still work."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from locality.skb.accounting import Flow, share

if TYPE_CHECKING:
    from locality.accept.source import AcceptBatch
    from locality.skb.accounting import Interval


class ClassicAccept:
    """accept.stp: ``cpu=#12 pid=29333 accept(3) -> fd=30 rxcpu=#19``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, batch: AcceptBatch) -> None:
        """One line a connection."""
        fields = batch.records[["cpu", "pid", "listen_fd", "fd", "rxcpu"]].tolist()
        line = "cpu=#%d pid=%d accept(%d) -> fd=%d rxcpu=#%d\n"
        self._out.write("".join([line % values for values in fields]))
        self._out.flush()


class ClassicSkb:
    """locality.stp: ``rx= 10%  130kpps tx=  8% 127kpps``.

    The percentages are consumed-local. Where the rung cannot see one it is ``?``, and
    ``-`` when there was no packet to speak of.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, batch: Interval) -> None:
        """One line an interval."""
        rx, tx = (
            f"{self._percent(flow):>3}% {flow.packets / batch.seconds / 1000:4.0f}kpps"
            for flow in (batch.rx, batch.tx)
        )
        self._out.write(f"rx={rx} tx={tx}\n")
        self._out.flush()

    @staticmethod
    def _percent(flow: Flow) -> str:
        if not flow.packets:
            return "-"
        percent = share(flow.local, flow.known)
        # As printf's %d did: 99.9 is not yet 100.
        return "?" if percent is None else str(int(percent))
