"""Tracepoints' numbers, from trees in tracefs's form."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from locality.bpf import tracefs
from locality.errors import Unsupported

NAME = "syscalls/sys_exit_accept4"


@pytest.fixture
def mount_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two places where tracefs may be mounted; at the second it is, at the first nothing."""
    first, second = tmp_path / "tracing", tmp_path / "debug"
    first.mkdir()
    put(second, 1234)
    monkeypatch.setattr(tracefs, "MOUNT_POINTS", (str(first), str(second)))
    return first, second


def put(root: Path, number: int) -> None:
    directory = root / "events" / NAME
    directory.mkdir(parents=True)
    (directory / "id").write_text(f"{number}\n")


# /sys/kernel/tracing is always there, and empty where nobody has mounted tracefs: taken for
# the real one, every tracepoint would be missing.
def test_an_empty_mount_point_is_passed_over(mount_points: tuple[Path, Path]) -> None:
    assert all(path.is_dir() for path in mount_points)
    assert tracefs.tracepoint_id(NAME) == 1234


# The older place would win over the newer one.
def test_the_first_is_preferred(mount_points: tuple[Path, Path]) -> None:
    put(mount_points[0], 42)
    assert tracefs.tracepoint_id(NAME) == 42


# A tracepoint that this kernel lacks is a rung refused, by name, not a traceback.
@pytest.mark.usefixtures("mount_points")
def test_a_missing_tracepoint() -> None:
    with pytest.raises(Unsupported, match=r"no tracepoint syscalls/sys_exit_no_such$"):
        tracefs.tracepoint_id("syscalls/sys_exit_no_such")
    with pytest.raises(Unsupported, match=r"no tracepoint no/such$"), tracefs.perf_event("no/such"):
        pass


# A descriptor left open at each question is a server that dies after a thousand of them.
@pytest.mark.usefixtures("mount_points")
def test_no_descriptor_is_left_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    tracefs.tracepoint_id(NAME)
    with pytest.raises(Unsupported):
        tracefs.tracepoint_id("no/such")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# Not mounted anywhere: root gets a mount of its own, others are told what to do. Either way
# no mount may stay behind.
def test_not_mounted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "MOUNT_POINTS", (str(tmp_path / "none"), str(tmp_path)))
    if os.geteuid() == 0:
        assert tracefs.tracepoint_id("sched/sched_switch") > 0
    else:
        with pytest.raises(Unsupported, match=f"mount -t tracefs tracefs {tmp_path / 'none'}"):
            tracefs.tracepoint_id("sched/sched_switch")
    # What others mount meanwhile is no concern of this test.
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    assert [mount for mount in mounts if str(tmp_path) in mount] == []
