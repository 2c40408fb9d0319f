"""The comparisons that matter, out of what was measured: ratios, and what they should be.

Figures are found by their names, ``WHAT: WHO``. Places: ``here`` is this machine, the others
are guests, called by their number of CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import lab
from benchmarks.floors import FLOOR
from benchmarks.measure import Figure, Goal, number, ratios

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = "here"
GUEST = "4"
GROWTH = ("1", "8")
GUESTS = ("1", GUEST, "8")

#: Figures by place, in the order they were measured.
Measured: TypeAlias = "Mapping[str, Sequence[Figure]]"

ACCEPT, SKB, KPROBE = "locality accept", "locality skb", "locality skb --rung kprobe"
CLASSIC = "locality accept --format classic"
SKB_BCC = "locality skb --engine bcc"
TCPACCEPT, ACCEPT_BT = "bcc tcpaccept", "bpftrace accept"
STP_BCC, STP_BT, STP_KFUNC = (
    "bcc locality.stp",
    "bpftrace locality.stp, kprobe",
    "bpftrace locality.stp, kfunc",
)

RING_TEXT, RING_BCC = "locality: ring, text", "bcc: ring, print"

#: All that a guest has room for.
EVERYBODY = (
    *(ACCEPT, CLASSIC, TCPACCEPT, ACCEPT_BT),
    *(SKB, KPROBE, SKB_BCC, STP_BCC, STP_BT, STP_KFUNC),
)

START = "exec to attached"
MEMORY = "largest resident size"
USER, PROGRAMS = "user CPU per", "BPF programs"
NET_NS = "ns above empty programs"
#: k/s: as many as there shall be where nothing may be lost.
NEARLY_A_MILLION = 950
NGINX, EMPTY_PROGRAMS = "nginx slowed by", "slow-down by empty programs"


@dataclass(frozen=True)
class Comparison:
    """A line of the first table.

    Attributes:
        letter: The part of the page that it stands in.
        figure: Name, values, unit, and the goal if there is one.
        place: Where.
        floor: What it costs to do the least, in the figure's unit; None if not measured.
    """

    letter: str
    figure: Figure
    place: str
    floor: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        goal = self.figure.goal
        if goal is None:
            return None
        return goal.met(self.figure.median)

    @property
    def verdict(self) -> str:
        """The goal, and by how much it is missed."""
        goal, value = self.figure.goal, self.figure.median
        if goal is None:
            return ""
        if self.met:
            return f"goal {goal}: met"
        if goal.high == 0 or self.figure.unit == "%":
            return f"goal {goal}: MISSED by {number(value - goal.high)} {self.figure.unit}".rstrip()
        return f"goal {goal}: MISSED, {number(value / goal.high)} times the goal"


def find(figures: Sequence[Figure], what: str, who: str) -> Figure | None:
    """The last figure whose name begins so: of several storms or turns, the largest."""
    found = None
    for figure in figures:
        name, _, whose = figure.name.partition(": ")
        if whose == who and name.startswith(what):
            found = figure
    return found


def comparisons(measured: Measured) -> list[Comparison]:
    """All of them that can be made."""
    return [
        *_start_and_memory(measured),
        *_cost_of_accepts(measured),
        *_lost(measured),
        *_cost_of_packets(measured),
        *_slower(measured),
        *_growth(measured),
    ]


def _compare(
    measured: Measured,
    letter: str,
    what: str,
    pair: tuple[str, str],
    goal: Goal | None = None,
    *,
    places: Sequence[str] = (HERE, GUEST),
) -> Iterator[Comparison]:
    """Ours divided by theirs, wherever both were measured."""
    ours, theirs = pair
    for place in places:
        upper, lower = (find(measured.get(place, ()), what, who) for who in (ours, theirs))
        # Below nothing: other programs broke into the turns with empty ones more than into these.
        if upper is None or lower is None or upper.median < 0 or lower.median <= 0:
            continue
        if len(upper.values) == len(lower.values) and min(*upper.values, *lower.values) > 0:
            values = ratios(upper.values, lower.values)
        else:
            values = [upper.median / lower.median]
        name = f"{upper.name.partition(': ')[0]}: {ours} / {theirs}"
        least = find(measured[place], what, FLOOR)
        floor = least.median / lower.median if least else 0 if what == NET_NS else None
        yield Comparison(letter, Figure(name, values, "x", goal), place, floor)


def _alone(
    measured: Measured, letter: str, what: str, who: str, goal: Goal
) -> Iterator[Comparison]:
    for place in (HERE, GUEST):
        figure = find(measured.get(place, ()), what, who)
        if figure is not None:
            with_goal = Figure(figure.name, figure.values, figure.unit, goal)
            least = find(measured[place], what, FLOOR)
            yield Comparison(letter, with_goal, place, least.median if least else None)


def _start_and_memory(measured: Measured) -> Iterator[Comparison]:
    peers = ((ACCEPT, TCPACCEPT, ACCEPT_BT), (SKB, STP_BCC, STP_BT))
    third, half = Goal(high=1 / 3), Goal(high=1 / 2)
    for ours, bcc, bpftrace in peers:
        yield from _compare(measured, "a", START, (ours, bcc), third)
        yield from _compare(measured, "a", START, (ours, bpftrace))
    for ours, bcc, bpftrace in peers:
        yield from _alone(measured, "b", MEMORY, ours, Goal(high=60))
        yield from _compare(measured, "b", MEMORY, (ours, bcc), half)
        yield from _compare(measured, "b", MEMORY, (ours, bpftrace))


def _cost_of_accepts(measured: Measured) -> Iterator[Comparison]:
    for ours in (ACCEPT, CLASSIC):
        yield from _compare(measured, "c", USER, (ours, TCPACCEPT), Goal(high=1 / 15))
    # Where tcpaccept cannot run: the same loop of bcc's, over records of an accept's size.
    yield from _compare(measured, "c", USER, (RING_TEXT, RING_BCC), Goal(high=1 / 15))
    yield from _compare(measured, "c", PROGRAMS, (ACCEPT, TCPACCEPT))
    for what in (USER, PROGRAMS):
        yield from _compare(measured, "c", what, (ACCEPT, ACCEPT_BT))
    yield from _compare(measured, "c", USER, (CLASSIC, ACCEPT_BT))


def _lost(measured: Measured) -> Iterator[Comparison]:
    for place in (HERE, GUEST):
        figures = measured.get(place, ())
        for figure in figures:
            what, _, who = figure.name.partition(": ")
            if not what.startswith("lost of all, "):
                continue
            asked = what.removeprefix("lost of all, ")
            # A tracer that slows the calls down has less to lose: how many there were.
            reached = find(figures, f"rate reached, {asked}", who)
            came = f", {number(reached.median)} k/s came" if reached else ""
            million = reached is not None and reached.median > NEARLY_A_MILLION
            goal = Goal(high=0) if million and who.startswith("locality") else None
            name = f"lost, {asked}{came}: {who}"
            yield Comparison("d", Figure(name, figure.values, figure.unit, goal), place, 0)


def _cost_of_packets(measured: Measured) -> Iterator[Comparison]:
    less = Goal(high=1)
    pairs = ((KPROBE, STP_BT), (KPROBE, STP_BCC), (SKB, STP_KFUNC), (SKB_BCC, STP_BCC))
    for ours, theirs in pairs:
        yield from _compare(measured, "e", NET_NS, (ours, theirs), less)
    yield from _compare(measured, "e", NET_NS, (SKB, STP_BT))
    yield from _compare(measured, "e", NET_NS, (SKB, STP_BCC))
    # Times of emulated CPUs would say nothing.
    if alone := find(measured.get(HERE, ()), NET_NS, SKB):
        yield Comparison("e", alone, HERE, 0)


def _slower(measured: Measured) -> Iterator[Comparison]:
    yield from _nginx_in_many_turns(measured)
    for place in (HERE, GUEST):
        for figure in measured.get(place, ()):
            if figure.name.startswith(NGINX):
                yield Comparison("f", figure, place)
    for place in (HERE, GUEST):
        figures = measured.get(place, ())
        for figure in figures:
            if figure.name.startswith("slow-down, "):
                three = Figure(f"TCP ping-pong {figure.name}", figure.values, "%", Goal(high=3))
                placement = figure.name.partition(", ")[2]
                least = [one for one in figures if one.name == f"{EMPTY_PROGRAMS}, {placement}"]
                yield Comparison("f", three, place, least[0].median if least else None)


def _nginx_in_many_turns(measured: Measured) -> Iterator[Comparison]:
    """Of the part lab, whose rounds are enough to tell a percent."""
    found = {figure.name: figure.values for figure in measured.get(HERE, ())}
    for who, empty in ((lab.ACCEPT, lab.EMPTY), (lab.SKB, lab.EMPTY_SKB)):
        ours, least = (found.get(f"{one} / {lab.NOT_TRACED}") for one in (who, empty))
        if ours and least:
            figure = Figure(f"{NGINX}, short turns: {who}", _percent_less(ours), "%", Goal(high=1))
            yield Comparison("f", figure, HERE, median(_percent_less(least)))


def _percent_less(values: Sequence[float]) -> list[float]:
    return [(1 - value) * 100 for value in values]


def _growth(measured: Measured) -> Iterator[Comparison]:
    for ours, theirs, what in (
        (ACCEPT, ACCEPT_BT, USER),
        (ACCEPT, ACCEPT_BT, PROGRAMS),
        (SKB, STP_KFUNC, NET_NS),
        (KPROBE, STP_BT, NET_NS),
    ):
        yield from _compare(measured, "g", what, (ours, theirs), places=GUESTS)
    for who, what in ((ACCEPT, USER), (ACCEPT_BT, USER), (TCPACCEPT, USER), (SKB, NET_NS)):
        for place in (HERE, *GUESTS):
            yield from _ten_times(measured.get(place, ()), what, who, place)


def _ten_times(figures: Sequence[Figure], what: str, who: str, place: str) -> Iterator[Comparison]:
    """Of one event among ten times as many, divided by that of one among few."""
    found = [
        figure
        for figure in figures
        if figure.name.startswith(what) and figure.name.partition(": ")[2] == who
    ]
    for few, many in pairwise(found):
        if few.median > 0 and many.median > 0:
            name = f"{what.removesuffix(' per')} of an event, ten times the events: {who}"
            yield Comparison("g", Figure(name, [many.median / few.median], "x"), place)
