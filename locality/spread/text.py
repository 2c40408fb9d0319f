"""What `locality spread` has done, as readable lines and for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from locality.spread.source import FIGURES
from locality.text import PAGE, percent, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.spread.source import Spread
    from locality.summary import Summary

#: CPUs named on a line; JSON has all.
MOST_CPUS = 3


class TextSpread:
    """One line an interval: packets, and the CPUs that processed most of them."""

    HEADING = (
        f"{'time':8} {'seen':>10} {'rewritten':>10} {'passed':>10} {'malformed':>10}  by CPU\n"
    )

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines = 0

    def write(self, batch: Spread) -> None:
        """Write an interval."""
        if self._lines % PAGE == 0:
            self._out.write(self.HEADING)
        self._lines += 1
        clock = time.strftime("%H:%M:%S", time.localtime(batch.time))
        numbers = " ".join(f"{number:>10}" for number in batch.total.values())
        self._out.write(f"{clock} {numbers}  {_by_cpu(batch)}\n")
        self._out.flush()


class JsonSpread:
    """One object an interval: packets in all, and by CPU where there were any."""

    def __init__(self, out: TextIO, interface: str, mode: str) -> None:
        self._out = out
        self._where = {"dev": interface, "mode": mode}

    def write(self, batch: Spread) -> None:
        """Write an interval."""
        cpus: list[dict[str, Any]] = [
            {"cpu": int(cpu), **{name: int(batch.counts[name][cpu]) for name in FIGURES}}
            for cpu in np.flatnonzero(batch.counts["seen"])
        ]
        times = {"time": batch.time, "interval_s": batch.seconds}
        record = {**times, **self._where, **batch.total, "cpus": cpus}
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()


def summary_lines(summary: Summary[Spread]) -> Iterator[str]:
    """The summary of a run."""
    if summary.total is None:
        yield "no interval was over"
        return
    total = summary.total.total
    yield f"{summary.total.seconds:.1f} s, {total['seen']} packets seen:"
    yield f"  {total['rewritten']} rewritten: datagrams that got another source port"
    yield f"  {total['passed']} passed: not to a chosen port, fragments, anything but UDP"
    yield f"  {total['malformed']} malformed: cut short or contradicting themselves, untouched"
    if total["seen"]:
        yield f"  by CPU: {_by_cpu(summary.total)}"


def _by_cpu(batch: Spread) -> str:
    """The share of the packets that the busiest CPUs saw: ``0 75.0%, 1 25.0%``."""
    seen = batch.counts["seen"]
    busy = [int(cpu) for cpu in np.argsort(-seen.astype(np.int64), kind="stable") if seen[cpu]]
    shares = [f"{cpu} {percent(share(int(seen[cpu]), int(seen.sum())))}" for cpu in busy]
    more = [f"+{len(busy) - MOST_CPUS}"] if len(busy) > MOST_CPUS else []
    return ", ".join(shares[:MOST_CPUS] + more) or "-"
