"""Connections as units of a trial."""

from __future__ import annotations

import numpy as np
import pytest

from locality.accept.batch import WAIT_KNOWN
from locality.connections.batch import CONNECTION
from locality.trial.arms import NoArm
from locality.trial.connection_units import (
    BEFORE,
    LATE,
    OUTCOMES,
    ConnectionUnits,
    Span,
    random_arms,
)
from locality.trial.cpu_time import SLICE_S, CpuHistory
from locality.trial.effects import effects
from locality.trial.observation import A, B, Design, Trial, units_dtype

MS = 10**6
WORKER_CPU = tuple(outcome for outcome in OUTCOMES if outcome.name == "worker_cpu")


def connections(*accepted_ms: int, wait_ms: int = 0) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    records = np.zeros(len(accepted_ms), CONNECTION)
    accepts = records["accept"]
    accepts["time"] = np.array(accepted_ms) * MS
    accepts["wait"], accepts["flags"] = wait_ms * MS, WAIT_KNOWN
    records["ended"] = accepts["time"] + 20 * MS
    records["first_read"] = accepts["time"] + 3 * MS
    records["last_packet"] = accepts["time"] + 1 * MS
    records["srtt"], records["retransmits"] = 8 * 250, 2
    return records


# Bugs: a unit of a value; the wait of a read that never was; who is left out for one reason is
# counted for another, or twice.
def test_units_have_the_values_of_their_records() -> None:
    arms = np.array([A, B, B, NoArm.NOT_MAPPED, A, A, B], np.uint8)
    collected = ConnectionUnits(lambda _accepts, _inodes: arms)
    records = connections(150, 160, 1000, 170, 100, 900, 950, wait_ms=10)
    records["first_read"][1] = 0
    records["srtt"][1] = 0
    collected.write(records)
    span = Span(begin=100 * MS, end=940 * MS, seen_until=900 * MS)
    units, left_out = collected.units(span)
    assert left_out == {BEFORE: 1, LATE: 1, NoArm.NOT_MAPPED.reason: 1}
    assert units["arm"].tolist() == [A, B]
    assert units["time"].tolist() == pytest.approx([0.05, 0.06])
    first, second = units
    assert first["receipt_to_read p50"] == first["receipt_to_read p99"] == 2000
    assert np.isnan(second["receipt_to_read p50"])
    assert np.isnan(second["rtt p50"])
    assert (first["queue_wait p99"], first["rtt p50"]) == (10_000, 250)
    assert (first["lifetime p50"], first["retransmits"]) == (20_000, 2)
    assert np.isnan(first["worker_cpu"])


def simulated(extra_us: float, seed: int) -> Trial:
    """A server that uses 30 us a connection, and more for those of arm B, in a noisy machine.

    What a reading of the clock adds, load that comes and goes and connections that lie across the
    end of a slice are in it.
    """
    draw = np.random.default_rng(seed)
    slices = 300
    length = int(SLICE_S * 1e9)
    rate = 200 + 100 * np.sin(np.arange(slices) / 40)
    counts = draw.poisson(rate)
    accepted = np.sort(
        np.repeat(np.arange(slices), counts) * length + draw.integers(0, length, counts.sum())
    )
    arm = draw.integers(A, B, len(accepted), np.uint8, endpoint=True)
    cost = draw.lognormal(np.log(30_000), 0.5, len(accepted)) + 1000 * extra_us * (arm == B)
    spent = accepted + draw.integers(0, length // 10, len(accepted))
    history = CpuHistory((1,))
    history.times = (np.arange(slices + 1) * length).tolist()
    used = np.bincount(spent // length, cost, slices + 2)[:slices]
    noise = draw.normal(0, 200_000, slices)
    history.totals = np.concatenate([[0], np.cumsum(used + 5_000_000 + noise)]).tolist()
    units = np.zeros(len(accepted), units_dtype(WORKER_CPU))
    units["time"], units["pair"], units["arm"] = accepted / 1e9, -1, arm
    units["worker_cpu"] = history.values(accepted, length / 10)
    design = Design("connection", ("", ""), len(units), seed)
    return Trial(design, WORKER_CPU, units, units[:0])


# Bug: the CPU time of workers that serve both arms is given to one of them, or the difference is
# not found: 5 us more for each connection of arm B.
def test_the_cost_of_an_arm_is_found_in_the_cpu_time_of_all_workers() -> None:
    intervals = [effects(simulated(5.0, seed))[0].interval for seed in range(25)]
    known = [interval for interval in intervals if interval is not None]
    assert len(known) == 25
    assert np.mean([interval.estimate for interval in known]) == pytest.approx(5, abs=1.5)
    assert sum(interval.low < 5 < interval.high for interval in known) >= 20


# Bug: the arms of A/A follow something.
def test_the_arms_of_aa_are_a_coin() -> None:
    arms = random_arms(np.random.default_rng(1))(connections(*range(10_000)), np.zeros(10_000))
    assert 0.48 < arms.mean() < 0.52
    assert abs(np.corrcoef(arms[:-1], arms[1:])[0, 1]) < 0.04
