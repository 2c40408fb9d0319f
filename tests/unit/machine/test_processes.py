"""Pids and thread names that a user gives, against /proc."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.machine.processes import has_thread_named, require_pids, threads

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 999_999_999  # above the kernel's PID_MAX_LIMIT of 2^22


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    """A thread of this process; once started it runs as long as the test."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    yield thread
    over.set()
    if thread.ident:
        thread.join()


def status(proc: Path, pid: int, name: bytes, tgid: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "status").write_bytes(
        b"Name:\t%b\nUmask:\t0022\nTgid:\t%d\nPid:\t%d\n" % (name, tgid, pid)
    )


# Bug: a process that runs is refused.
def test_running_processes_pass(tmp_path: Path) -> None:
    require_pids([os.getpid(), 1])
    status(tmp_path, 12, b"nginx", 12)
    require_pids([12], tmp_path)


# Bug: the filter waits for ever for a pid that is not there, or refuses only the first one.
def test_an_unknown_pid_is_named() -> None:
    with pytest.raises(LocalityError, match=f"no process {NOBODY}"):
        require_pids([1, NOBODY])


# Bug: a thread's number passes (/proc/TID exists) and nothing is ever seen: the kernel side
# compares with the process.
def test_a_thread_is_no_process(thread: threading.Thread) -> None:
    thread.start()
    with pytest.raises(LocalityError, match=f"{thread.native_id} is a thread"):
        require_pids([thread.native_id or 0])


# Bug: the lowest number is taken for the main thread's; it is not, once the kernel has begun again.
def test_the_main_thread_comes_first(tmp_path: Path) -> None:
    for tid in (99, 300, 301):
        (tmp_path / f"300/task/{tid}").mkdir(parents=True)
    assert threads(300, tmp_path) == [300, 99, 301]
    assert threads(299, tmp_path) == []


# Bug: pid 12 passes for thread 12 of process 123.
def test_the_whole_number_counts(tmp_path: Path) -> None:
    status(tmp_path, 12, b"nginx", 123)
    with pytest.raises(LocalityError, match="12 is a thread"):
        require_pids([12], tmp_path)


# Bugs: a process whose name is not UTF-8 cannot be traced; one that calls itself like a line of
# the file (the kernel writes its newline as two characters) passes for another.
@pytest.mark.parametrize("name", [b"\xff\xfe", b"x\\nTgid:\\t13"])
def test_hostile_names(tmp_path: Path, name: bytes) -> None:
    status(tmp_path, 12, name, 12)
    require_pids([12], tmp_path)


# Bugs: only main threads are looked at, though a filter by name is one for threads; a name longer
# than the kernel keeps is never found.
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("loc-thread", "loc-thread"),
        ("loc-15-letters!", "loc-15-letters!"),
        ("loc-15-of-more!", "loc-15-of-more! and more"),
        ("loc käse", "loc käse"),
    ],
)
def test_a_thread_is_found_by_name(thread: threading.Thread, given: str, wanted: str) -> None:
    assert not has_thread_named(wanted)
    thread.start()
    Path(f"/proc/self/task/{thread.native_id}/comm").write_text(given, encoding="utf-8")
    assert has_thread_named(wanted)


# Bug: the beginning of a name, or of a file without content, is enough.
@pytest.mark.parametrize("wanted", ["ngin", "nginx2", ""])
def test_the_whole_name_counts(tmp_path: Path, wanted: str) -> None:
    task = tmp_path / "5/task/5"
    task.mkdir(parents=True)
    (task / "comm").write_bytes(b"nginx\n")
    assert has_thread_named("nginx", tmp_path)
    assert not has_thread_named(wanted, tmp_path)


# Bugs: a thread that ends while /proc is read, or a name of any bytes, ends the run.
def test_odd_tasks_are_passed_over(tmp_path: Path) -> None:
    for tid in ("5", "6", "7"):
        (tmp_path / "5/task" / tid).mkdir(parents=True)
    (tmp_path / "5/task/5/comm").mkdir()  # cannot be read, as that of a thread just gone
    (tmp_path / "5/task/6/comm").write_bytes(b"\xff\xfe\n")
    (tmp_path / "5/task/7/comm").write_bytes(b"nginx\n")
    assert has_thread_named("nginx", tmp_path)


# Bug: bytes given on the command line that are no UTF-8 (Python hands them over as surrogates)
# end in a traceback, though a thread may be called so.
def test_a_name_of_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "5/task/5").mkdir(parents=True)
    (tmp_path / "5/task/5/comm").write_bytes(b"a\xffb\n")
    assert has_thread_named("a\udcffb", tmp_path)
