"""Labels and bounds of the exporter's metrics."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.accept.counts import WAIT_BUCKETS, WAIT_ENDS
from locality.commands.exporter import MEASURES
from locality.cost import histogram
from locality.cost.bill import Bill
from locality.doctor.checklist import CODES
from locality.errors import Unsupported
from locality.exporter import collect, latency, metrics
from locality.exporter.changes import CAUSES
from locality.exporter.measures import BOUNDS, buckets
from locality.exporter.metrics import OTHER, PortLabels, bounded, ports_for, summed
from locality.filter import Wanted
from locality.machine.topology import Distance, Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric


def accepts(ports: PortLabels, seen: dict[int, int]) -> dict[str, int]:
    """Accepts by label of the port, where each port has so many."""
    numbers = np.array(list(seen), "u4")
    counts = np.array([[count, 0] for count in seen.values()], "u8").reshape(-1, 2)
    ports.see(numbers, counts.sum(axis=1))
    return {label: int(row.sum()) for label, row in summed(ports, numbers, counts).items()}


# Bug: a busier port takes the label of another one, whose counter goes back to what others have.
def test_no_counter_ever_goes_back() -> None:
    ports = PortLabels(2)
    readings = [
        accepts(ports, seen)
        for seen in (
            {80: 5, 443: 9, 22: 1},
            {80: 5, 443: 9, 22: 1000, 8080: 2000},
            {80: 6, 443: 9, 22: 1000, 8080: 2000, 25: 7},
        )
    ]
    assert readings[0] == {"443": 9, "80": 5, OTHER: 1}
    for before, after in pairwise(readings):
        assert all(after[label] >= count for label, count in before.items())
    assert ports.left_out == 3


# Bug: what no row of the kernel's table was left for is in no sum.
def test_the_rest_of_the_kernels_table_is_added_to_the_others() -> None:
    ports = PortLabels(1)
    one = np.array([80], "u4")
    ports.see(one, np.array([3]))
    sums = summed(ports, one, np.array([[3]]), np.array([4]))
    assert {label: row.tolist() for label, row in sums.items()} == {"80": [3], OTHER: [4]}


# Bug: a port that was asked for has no series, for others were seen before it.
def test_a_port_that_was_asked_for_has_a_label() -> None:
    ports = PortLabels(1, first=[9000])
    assert accepts(ports, {1: 5, 9000: 1}) == {OTHER: 5, "9000": 1}


# Bug: the bound is passed by one, or a histogram is cut in the middle.
@pytest.mark.parametrize("most", [1, 5, 6, 7, 20])
def test_there_are_no_more_series_than_the_bound(most: int) -> None:
    def families() -> Iterator[Metric]:
        for place in range(3):
            family = metrics.ACCEPTS.counter()
            for distance in Distance:
                family.add_metric([str(place), distance.word], 1)
            yield family

    given = list(bounded(families(), most))
    assert sum(len(family.samples) for family in given) <= most
    (left_out,) = given[-1].samples
    whole = len(given) - 1
    assert (left_out.name, left_out.value) == ("locality_series_left_out", 6 * (3 - whole))


# Bug: on a machine with all distances, and many ports, families are left out by default.
@pytest.mark.parametrize("with_latency", [False, True])
def test_the_number_of_ports_leaves_room_for_the_rest(*, with_latency: bool) -> None:
    distances, directions = len(Distance), 2
    packets = directions * (distances + 1 + 2) + 2 + directions
    accept_wait = len(BOUNDS) + 3
    findings = 2 * len(CODES) + 1
    changes = sum(map(len, CAUSES.values()))
    windows = 2 + 3 * 4
    probes = 3 * (len(MEASURES) + 1)
    process, info, left_out, textfile = 6, 1, 2, 1
    fixed = packets + accept_wait + findings + changes + windows + probes
    fixed += process + info + textfile
    fixed += left_out + with_latency * (
        distances * (len(latency.BOUNDS) + 3) + len(latency.CAUSES) + 1
    )
    ports = ports_for(metrics.MOST_SERIES, latency=with_latency)
    other = 2 * distances + distances  # of accepts and reads, and those that go out
    assert ports >= (3 if with_latency else 10)
    assert fixed + other + ports * (2 * distances + 3) <= metrics.MOST_SERIES
    assert ports_for(50) == 1


# Bug: distances that this machine does not have take series, or one that was counted is missing.
def test_series_of_distances_that_there_are() -> None:
    llc = np.full((3, 3), Distance.UNKNOWN, np.uint8)
    llc[:2, :2] = [[Distance.CPU, Distance.LLC], [Distance.LLC, Distance.CPU]]
    machine = Topology(2, (0, 1), llc)
    family = metrics.ACCEPTS.counter()
    metrics.add_distances(family, ["80"], [7, 0, 0, 0, 2, 0], machine)
    assert {sample.labels["distance"]: sample.value for sample in family.samples} == {
        "cpu": 7,
        "llc": 0,
        "remote": 2,
        "unknown": 0,
    }


# Bug: a bucket has the times of the next one, too, or the last one lacks the longest.
def test_buckets_are_cumulated_by_their_ends() -> None:
    counts = np.zeros(WAIT_BUCKETS, "u8")
    below_a_quarter = int(np.searchsorted(WAIT_ENDS, 0.25))
    counts[below_a_quarter] = 3
    counts[below_a_quarter + 1] = 4
    counts[-1] = 5
    found = {float(end): count for end, count in buckets(counts)}
    assert [*found] == [*BOUNDS.tolist(), float("inf")]
    assert (found[2.0**-4], found[0.25], found[1.0], found[16.0], found[float("inf")]) == (
        0,
        3,
        7,
        7,
        12,
    )


# Bugs: a time falls below the next bound already; an unknown cause gets a label of its own,
# by a name of a function; calls of two functions for one cause replace each other.
def test_latency_and_its_causes() -> None:
    counts = np.zeros(histogram.BUCKETS, "u8")
    for ns in (1_000, 5_000, 5_000, 3_000_000, 10**12):
        counts[histogram.bucket_of(ns)] += 1
    found = {float(end): count for end, count in latency.buckets(counts)}
    assert found[2**10 / 1e9] == 1
    assert found[2**12 / 1e9] == 1
    assert found[2**14 / 1e9] == 3
    assert found[2**22 / 1e9] == 4
    assert found[2**34 / 1e9] == 4
    assert found[float("inf")] == 5
    bill = Bill(reschedulings=5, causes={"flush_tlb_func": 2, "some_func": 3, "other": 1})
    assert latency.by_cause(bill) == {"rescheduling": 5, "tlb_flush": 2, "other": 4}


# Bug: interrupts of which the machine tells no number are exported as 0.
def test_interrupts_that_are_not_known_have_no_series() -> None:
    assert latency.by_cause(Bill(causes={"flush_tlb_func": 2})) == {"tlb_flush": 2}
    assert latency.by_cause(Bill()) == {}


# Bug: a measurement that is asked for twice is attached twice, and Prometheus refuses answers in
# which a series comes twice.
def test_a_measurement_is_attached_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Opened:
        def close(self) -> None:
            """Nothing is attached."""

    def attach(*_arguments: object) -> Opened:
        opened.append("reads")
        return Opened()

    monkeypatch.setattr(collect, "MEASURES", {"reads": attach})
    machine = Topology(1, (0,), np.zeros((2, 2), np.uint8))
    names = ("reads", "reads")
    found = collect.open_measures(machine, names, Wanted(), PortLabels(1), pytest.fail)
    assert (len(found), opened) == (1, ["reads"])


# Bug: one reason for which nothing can be measured is told once for each measurement.
def test_a_reason_for_all_measurements_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise Unsupported("run it as root")

    monkeypatch.setattr(collect, "MEASURES", {"accepts": refuse, "reads": refuse})
    machine = Topology(1, (0,), np.zeros((2, 2), np.uint8))
    with pytest.raises(Unsupported) as raised:
        collect.open_measures(machine, ("accepts", "reads"), Wanted(), PortLabels(1), pytest.fail)
    assert str(raised.value) == "accepts, reads: not measured: run it as root"
