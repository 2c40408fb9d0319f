"""When the probe of calls that send is attached."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from locality.errors import Unsupported
from locality.skb.accounting import ROW, Difference, Figures
from locality.skb.cells import GrownTable
from locality.skb.interval import Flow
from locality.skb.senders import Senders

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.bpf.object import Object


class Probe:
    """Keeps what is asked of it; may refuse."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.done: list[str] = []
        self._refuses = refuses

    def attach(self, names: Collection[str]) -> None:
        self.done += ["attach", *names]
        if self._refuses:
            raise Unsupported("no")

    def detach(self, names: Collection[str]) -> None:
        self.done += ["detach", *names]


def shown(senders: Senders, sends: int = 0, found: int = 0, told: int = 0, untold: int = 0) -> None:
    """An interval with so many calls, and sent packets."""
    rows = np.zeros(2, ROW)
    grown = rows.copy()
    grown["sends"][1], grown["owners_found"][0] = sends, found
    none = np.zeros((2, 2, 2), np.int64)
    flow = Flow(told, told, None, None, 0)
    figures = Figures(flow, flow, None, None, none, not_told=(0, untold))
    senders.follow(Difference.between(GrownTable(none), grown, rows), figures)


def watched(probe: Probe) -> Senders:
    return Senders(cast("Object", probe))


OFF, ON = ["detach", "owner_sends"], ["attach", "owner_sends"]


# Bugs: it goes in an interval in which nobody sent; it comes and goes in turn for ever.
def test_it_goes_and_comes_back_for_good() -> None:
    probe = Probe()
    senders = watched(probe)
    shown(senders)
    shown(senders, sends=1000, found=100)
    assert probe.done == []
    shown(senders, sends=1000, found=9, untold=500)
    assert probe.done == OFF
    shown(senders, told=1000, untold=10)
    assert probe.done == OFF
    shown(senders, told=1000, untold=11)
    shown(senders, sends=1000)
    shown(senders, told=1000, untold=500)
    assert probe.done == OFF + ON


# Bug: a process that gave up its capabilities fails in the middle of a measurement.
def test_it_may_not_come_back() -> None:
    probe = Probe(refuses=True)
    senders = watched(probe)
    shown(senders, sends=1000)
    for _ in range(2):
        shown(senders, untold=500)
    assert probe.done == OFF + ON
