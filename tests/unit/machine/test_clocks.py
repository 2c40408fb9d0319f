"""The kernel's clock, where this process has another one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from locality.machine.clocks import monotonic_ns, monotonic_to_utc, namespace_offset
from locality.recording.format import Meta
from locality.trial.cpu_time import CpuHistory
from tests.unit.recordings import META

if TYPE_CHECKING:
    from pathlib import Path


# Bug: in a time namespace a program's clock differs from the kernel's by hours.
@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("monotonic           0         0\nboottime            0         0\n", 0),
        ("monotonic          10         5\nboottime          -3         0\n", 10_000_000_005),
        ("1  -2  7\n7 0 0\n", -1_999_999_993),
        ("", 0),
    ],
)
def test_the_offset_of_a_time_namespace(tmp_path: Path, text: str, offset: int) -> None:
    path = tmp_path / "timens_offsets"
    path.write_text(text)
    assert namespace_offset(path) == offset
    assert namespace_offset(tmp_path / "missing") == 0


# Bug: in a time namespace, connections are shown hours before or after they were accepted.
def test_the_kernels_times_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    outside, own, read = monotonic_to_utc(), namespace_offset(), time.clock_gettime_ns
    hours = 10**13
    monkeypatch.setattr("locality.machine.clocks.namespace_offset", lambda: own + hours)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: read(which) + hours)
    assert abs(monotonic_to_utc() - outside) < hours / 2


# Bug: what is compared with the times of BPF programs is by this process's clock.
def test_trials_and_recordings_have_the_kernels_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    outside, own, read = monotonic_ns(), namespace_offset(), time.clock_gettime_ns
    to_utc, hours = monotonic_to_utc(), 10**13
    monkeypatch.setattr("locality.machine.clocks.namespace_offset", lambda: own + hours)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda which: read(which) + hours)
    history = CpuHistory((os.getpid(),))
    history.note()
    assert abs(history.times[0] - outside) < hours / 2
    meta = Meta.here("skb", None, META.machine)
    assert abs(meta.clock_offset - to_utc) < hours / 2
