"""The phases of the experiment as lines and a table."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Literal

import numpy as np
from rich.console import Console

from locality.lab.demo import Measurement, PhaseResult, phases
from locality.lab.expectations import Figure
from locality.lab.load import LoadResult
from locality.lab.results import change_lines, not_counted_lines, phase_line, phase_table
from locality.skb.interval import Flow, Interval

WIDTH = 80


def result(number: int, accept_local: int, *, lost: int = 0) -> PhaseResult:
    """The experiment's phase of this number, with figures that differ from column to column."""
    rx = Flow(packets=1_500_000, local=1_350_000, freed_local=None, deferred=0, unknown=0)
    tx = Flow(packets=300_000, local=150_000, freed_local=None, deferred=0, unknown=0)
    skb = Interval(
        *(0.0, 3.0, "fentry", 2, rx, tx, 60_000, 36_000),
        np.zeros((2, 2, 2), np.int64),
        not_told=(7, 1),
    )
    measurement = Measurement(20_000, accept_local, lost, skb)
    phase = phases((0, 1))[number]
    return PhaseResult(phase, measurement, LoadResult(36_000, 12_345.6), judged=tuple(Figure))


def rendered(thing: object, *, color: bool = False) -> str:
    out = io.StringIO()
    system: Literal["standard"] | None = "standard" if color else None
    Console(file=out, width=WIDTH, color_system=system, highlight=False).print(thing)
    return out.getvalue()


RESULTS = [result(0, 9_000), result(1, 20_000), result(2, 0), result(3, 20_000), result(4, 11_000)]


# Bugs: rich takes width from a column and cuts a number; received packets printed for sent ones;
# packets of the phase as packets a second.
def test_the_phase_table_has_every_figure_in_80_columns() -> None:
    table = rendered(phase_table(RESULTS)).splitlines()
    rows = {words[0]: words[1:] for line in table if (words := line.split())}
    even, exact, never = "35-65%", (">=99%", ">=97%", ">=95%"), ("<=1%", "<=3%", "<=3%")
    figures = ["60.0%", even, "20.0", "50.0%", even, "100.0", "12,346"]
    assert rows["before"] == ["45.00%", even, *figures]
    figures[1], figures[4] = exact[1:]
    assert rows["after"] == ["100.00%", exact[0], *figures]
    figures[1], figures[4] = never[1:]
    assert rows["reversed"] == ["0.00%", never[0], *figures]
    assert rows["map"][0] == "100.00%"
    assert rows["detach"][0] == "55.00%"
    assert max(map(len, table)) <= WIDTH


# Bugs: what the rung does not see is printed as 0; packets that are not the server's are said to
# have to show something.
def test_packets_that_are_not_seen_or_not_judged() -> None:
    flow = Flow(packets=3000, local=None, freed_local=None, deferred=0, unknown=0)
    matrix = np.zeros((2, 2, 2), np.int64)
    skb = Interval(0.0, 3.0, "fentry", 0, flow, flow, None, None, matrix)
    seen = PhaseResult(phases((0, 1))[1], Measurement(9, 9, 0, skb), LoadResult(36_000, 1.0))
    row = rendered(phase_table([seen])).splitlines()[-1].split()
    assert row == ["after", "100.00%", ">=99%", "?", "-", "?", "?", "-", "1.0", "1"]


# Bug: figures of a server that is all local are a little wider, and cost a phase its name.
def test_the_widest_figures_leave_the_names_whole() -> None:
    every = Flow(packets=999_000, local=999_000, freed_local=999_000, deferred=0, unknown=0)
    matrix = np.zeros((2, 2, 2), np.int64)
    skb = Interval(0.0, 1.0, "fentry", 0, every, every, 999_000, 999_000, matrix)
    measurement = Measurement(20_000, 20_000, lost=0, skb=skb)
    load = LoadResult(36_000, 123_456.0)
    wide = [
        PhaseResult(phase, measurement, load, judged=tuple(Figure)) for phase in phases(range(4))
    ]
    table = rendered(phase_table(wide)).splitlines()
    assert [line.split()[0] for line in table[-len(wide) :]] == [each.phase.name for each in wide]
    assert max(map(len, table)) <= WIDTH


# Bug: a phase that failed looks like one that did what it must.
def test_a_failed_phase_stands_out() -> None:
    good, bad = (
        re.search(r"\x1b\[([\d;]+)m *\d+\.\d\d%", rendered(phase_table([one]), color=True))
        for one in (result(1, 20_000), result(1, 10_000))
    )
    assert good
    assert bad
    assert good[1] != bad[1]


# Bug: accepts that were not seen pass in silence; a lossless run talks of losses.
def test_a_phase_in_one_line() -> None:
    clean, lossy = (rendered(phase_line(result(1, 20_000, lost=lost))) for lost in (0, 7))
    assert clean.split()[:5] == ["after", "100.00%", "of", "20000", "accepts:"]
    assert "lost" not in clean
    assert "20000 accepts, 7 lost: " in lossy


# Bug: the two figures exchanged: the lines that everyone reads.
def test_what_changed() -> None:
    lines = [rendered(line) for line in change_lines(RESULTS)]
    assert lines == [
        "accept-local: 45.00% before, 100.00% after attach-cbpf\n",
        "delivered-local: 60.00% before, 60.00% after attach-cbpf\n",
        "sent-local: 50.00% before, 50.00% after attach-cbpf\n",
    ]


# Bug: packets that are on neither side, or that no probe saw, are forgotten in some phases.
def test_what_is_in_no_figure_is_printed() -> None:
    told, lost = (rendered(line) for line in not_counted_lines(RESULTS))
    assert told.endswith("machine-wide: 35 received, 5 sent\n")
    assert lost.endswith("a packet: 10\n")
    seen = replace(RESULTS[0].measurement.skb, lost=0)
    lossless = replace(RESULTS[0], measurement=Measurement(1, 1, 0, seen))
    assert len(list(not_counted_lines([lossless]))) == 1
