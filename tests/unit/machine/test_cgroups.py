"""How a user names a cgroup, and what is said to what is none."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.errors import LocalityError
from locality.machine.cgroups import CgroupPaths, find, processes_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A /proc whose cgroups are mounted in a directory with a blank in its name."""
    mounted = tmp_path / "c groups"
    for place, pids in (("", ""), ("web.slice", "11\n"), ("web.slice/nginx.service", "12\n0\n")):
        (mounted / place).mkdir()
        (mounted / place / "cgroup.procs").write_text(pids)
    (mounted / "no cgroup").mkdir()
    (mounted / "out").symlink_to(tmp_path)
    (tmp_path / "cgroup.procs").touch()
    (tmp_path / "self").mkdir()
    written = str(mounted).replace(" ", "\\040")
    (tmp_path / "self/mountinfo").write_text(
        "29 20 0:25 / /sys rw - sysfs sysfs rw\n"
        f"30 29 0:26 / {written} rw,nosuid - cgroup2 cgroup2 rw\n"
    )
    return tmp_path


# Bugs: only one way to write a path is taken; the id is not the one that probes compare.
@pytest.mark.parametrize(
    "text",
    [
        "web.slice/nginx.service",
        "/web.slice/nginx.service",
        "/web.slice/nginx.service/",
        "{mount}/web.slice/nginx.service",
        "{mount}/web.slice/../web.slice/nginx.service",
    ],
)
def test_a_path_below_the_mount_or_from_the_root(machine: Path, text: str) -> None:
    mount = machine / "c groups"
    found = find(text.format(mount=mount), machine)
    assert found.path == "/web.slice/nginx.service"
    assert found.id == (mount / "web.slice/nginx.service").stat().st_ino


# Bug: the root, however it is written, has an empty path or is not found.
def test_the_root(machine: Path) -> None:
    assert [find(text, machine).path for text in ("/", "", str(machine / "c groups"))] == ["/"] * 3


# Bug: a directory that is no cgroup has an inode, too, which no thread is ever in.
@pytest.mark.parametrize(
    "text", ["nginx", "no cgroup", "out", "..", "/nowhere", "a\0b", "x" * 5000]
)
def test_what_is_no_cgroup(machine: Path, text: str) -> None:
    with pytest.raises(LocalityError, match="there is no cgroup") as error:
        find(text, machine)
    assert "systemd-cgls" in str(error.value)


# Bug: a traceback where no cgroup v2 is mounted.
def test_a_machine_without_cgroups(machine: Path) -> None:
    (machine / "self/mountinfo").write_text("")
    with pytest.raises(LocalityError, match="no cgroup v2 hierarchy is mounted"):
        find("/", machine)


# Bug: what is in a cgroup below is left out; a process of another pid namespace has number 0.
def test_processes_of_a_cgroup(machine: Path) -> None:
    assert processes_in(find("web.slice", machine)) == {11, 12}


# Bug: a container ends while the cgroups are walked, and the command with it, by a traceback.
def test_a_cgroup_that_goes_meanwhile(machine: Path) -> None:
    web = find("web.slice", machine)
    siblings = [web.directory / name for name in ("one", "other")]

    def remove_when_read(mine: Path, other: Path) -> None:
        with (
            suppress(FileNotFoundError),  # the other one was read, and removed this, before
            (mine / "cgroup.procs").open("w") as file,  # waits for the reader
        ):
            shutil.rmtree(other)
            file.write("13\n")

    for directory in siblings:
        directory.mkdir()
        os.mkfifo(directory / "cgroup.procs")
    for pair in (siblings, siblings[::-1]):
        threading.Thread(target=remove_when_read, args=pair, daemon=True).start()
    assert processes_in(web) == {11, 12, 13}


# Bug: each interval asks /proc again for what it knows, or forgets a cgroup whose process ended.
def test_paths_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def path_of(pid: int) -> str | None:
        asked.append(pid)
        return {1: "/a", 2: None}[pid]

    monkeypatch.setattr("locality.machine.cgroups.path_of", path_of)
    paths = CgroupPaths()
    ids, pids = np.array([20, 10, 10, 0]), np.array([2, 1, 3, 4])
    assert paths.of(ids, pids) == {10: "/a"}
    assert paths.of(ids, pids) == {10: "/a"}
    assert asked == [1, 2, 2]


# Bug: a process is moved to another cgroup before it is asked for, and the first one is called by
# the other one's name from then on.
def test_a_process_that_has_been_moved(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = find("web.slice", machine).id
    is_in = iter(["/web.slice/nginx.service", "/web.slice"])
    monkeypatch.setattr("locality.machine.cgroups.PROC", machine)
    monkeypatch.setattr("locality.machine.cgroups.path_of", lambda _pid: next(is_in))
    paths = CgroupPaths()
    asked = np.array([web]), np.array([11])
    assert paths.of(*asked) == {}
    assert paths.of(*asked) == paths.of(*asked) == {web: "/web.slice"}


# Bugs: containers that have gone stay in memory for days; paths of those that run are forgotten.
def test_paths_of_very_many_cgroups_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def path_of(pid: int) -> str:
        asked.append(pid)
        return "/a"

    monkeypatch.setattr("locality.machine.cgroups.path_of", path_of)
    monkeypatch.setattr("locality.machine.cgroups._MOST_KNOWN", 3)
    paths = CgroupPaths()
    for number in range(10, 30):
        assert paths.of(np.array([1, number]), np.array([1, number])) == {1: "/a", number: "/a"}
    assert asked == [1, *range(10, 30)]
    assert paths.of(np.array([10]), np.array([31])) == {10: "/a"}
    assert asked[-1] == 31
