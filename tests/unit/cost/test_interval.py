"""Readers and times put together, on intervals made up here."""

from __future__ import annotations

import numpy as np

from locality.cost.grouping import FEWEST, rows_of
from locality.cost.interval import (
    KEY,
    LEFT_OUT,
    READER,
    TIME,
    WAIT,
    WAKE_UP,
    reads_of,
    summed,
    timed_of,
    together,
)
from locality.cost.times import some, without_times
from locality.machine.topology import Distance
from tests.unit.cost.made_up import BILL, Times, interval, reader

FAR = Distance.LLC


# Bugs: times go to another reader when readers become one; a wake-up counts as a read; what was
# left out is lost or counted twice.
def test_readers_that_agree_become_one() -> None:
    seen = interval(
        (reader(1, 80, long_queue=5), [Times(1000, 10), Times(9000, 3, FAR)]),
        (reader(2, 443), [Times(1000, 7), Times(500, 6, measure=WAKE_UP)]),
        (reader(3, 80, no_stamp=1), [Times(1000, 20)]),
    )
    readers, times = together(seen.readers, seen.times, ("port",))
    assert readers["port"].tolist() == [80, 443]
    assert readers["pid"].tolist() == [3, 2] or readers["pid"].tolist() == [1, 2]
    timed = timed_of(readers, times)
    assert timed[:, Distance.CPU].tolist() == [30, 7]
    assert timed[:, FAR].tolist() == [3, 0]
    # A made-up reader has its count at each distance.
    assert readers["left_out"][0, LEFT_OUT.index("long_queue")].tolist() == [5] * 6
    assert reads_of(readers, times).sum() == 40 + 6 * 6
    own = times[(times["reader"] == 0) & (times["distance"] == Distance.CPU)]
    assert own["count"].tolist() == [30]


# Bug: the name is that of whoever comes last, and not of the reader with the most reads.
def test_a_row_is_called_by_its_busiest_reader() -> None:
    seen = interval(
        (reader(1, comm=b"busy"), [Times(1000, 50)]),
        (reader(2, comm=b"idle"), [Times(1000, 1), Times(1000, 900, measure=WAKE_UP)]),
    )
    (row,) = rows_of(seen, "port")
    assert row.name == "tcp 80 busy"
    assert [row.name for row in rows_of(seen, "process")] == ["busy/1", "idle/2"]


# Bugs: the second interval replaces the first; its times go to readers of the first; cells are
# there twice, so that a histogram has one of them.
def test_intervals_add_up() -> None:
    first = interval((reader(1), [Times(1000, 3)]), lost=1, bill=BILL)
    second = interval(
        (reader(2), [Times(1000, 4)]),
        (reader(1), [Times(1000, 2), Times(8000, 1, FAR)]),
        lost=4,
        time=9.0,
        clock_steps=1,
        bill=BILL,
    )
    both = first + second
    assert (both.seconds, both.lost, both.time, both.clock_steps) == (4.0, 4, 9.0, 1)
    assert (both.bill.rps, dict(both.bill.causes or {})["sched_ttwu_pending"]) == (14, 60)
    counts = {
        (int(both.readers["pid"][cell["reader"]]), int(cell["distance"])): int(cell["count"])
        for cell in both.times
    }
    assert counts == {(1, 0): 5, (1, FAR): 1, (2, 0): 4}
    assert len((interval() + interval()).readers) == 0
    assert len((interval() + first).times) == 1


# Bugs: the most remote row is not first; the reads of an unknown CPU count as remote.
def test_the_most_remote_comes_first() -> None:
    seen = interval(
        (reader(1, 80), [Times(1000, 900), Times(1000, 5, FAR)]),
        (reader(2, 443), [Times(1000, 6, Distance.REMOTE)]),
        (reader(3, 53, protocol=17), [Times(1000, 700, Distance.UNKNOWN)]),
    )
    rows = rows_of(seen, "port")
    assert [row.name.split()[1] for row in rows] == ["443", "80", "53"]
    assert [row.remote for row in rows] == [6, 5, 0]
    assert rows[2].known == 0
    assert rows[2].sentence(1.0) == "The CPU that received is not known."


# Bugs: medians of too few reads are compared; a remote read that comes sooner has a price; what was
# left out waits, too.
def test_what_distance_costs() -> None:
    def of(*times: Times, **left_out: int) -> str:
        (row,) = rows_of(interval((reader(1, **left_out), [*times])), "port")
        return row.sentence(2.0)

    many = Times(3000, 2 * FEWEST)
    assert of(many) == "All reads are local."
    assert of(many, Times(9000, FEWEST - 1, FAR)) == (
        "33.1% of reads are remote. Too few remote reads are timed for a comparison."
    )
    assert "Too few local reads" in of(Times(1000, 1), Times(9000, FEWEST, FAR))
    # The middles of their buckets are 17,408 and 2,944 ns; 100 reads in two seconds.
    assert of(many, Times(18_000, FEWEST, FAR)) == (
        "33.3% of reads are remote. A remote read comes 14.5us later (p50). That is about 723.2us "
        "of waiting a second."
    )
    assert of(Times(18_000, FEWEST), Times(3000, FEWEST, FAR)).endswith("comes no later (p50).")
    (row,) = rows_of(interval((reader(1), [many, Times(3000, FEWEST, FAR)])), "port")
    assert (row.later, row.waiting(1.0)) == (0.0, 0.0)


# Bug: counts of the same cell from two probes are two cells, and one of them is forgotten.
def test_each_cell_is_there_once() -> None:
    cells = [(1, 0, 0, 5, 2), (0, 0, 0, 5, 3), (1, 0, 0, 5, 4), (1, 1, 0, 5, 1)]
    found = summed(np.array(cells, TIME))
    assert found.tolist() == [(0, 0, 0, 5, 3), (1, 0, 0, 5, 6), (1, 1, 0, 5, 1)]


# Bugs: a reader without reads has a row; times go to the wrong reader when it is left out.
def test_readers_that_read_nothing_are_left_out() -> None:
    rows = np.array([reader(1), reader(2), reader(3), reader(4, no_room=1)], READER)
    times = np.array([(2, WAIT, 0, 9, 5)], TIME)
    readers, kept = some(rows, times)
    assert readers["pid"].tolist() == [3, 4]
    assert kept["reader"].tolist() == [0]
    # Wake-ups alone are no reads; the probe counts them with reads only.
    assert together(readers, kept, KEY)[0]["pid"].tolist() == [3, 4]


# Bug: when the clock is set, times that mean nothing are shown, or their reads are forgotten.
def test_an_interval_in_which_the_clock_was_set() -> None:
    seen = interval(
        (reader(1), [Times(1000, 3), Times(2000, 2, FAR), Times(700, 9, measure=WAKE_UP)]),
    )
    readers, times = without_times(seen.readers.copy(), seen.times)
    assert len(times) == 0
    left = readers["left_out"][0, LEFT_OUT.index("other_clock")]
    assert left.tolist() == [3, 0, 2, 0, 0, 0]
