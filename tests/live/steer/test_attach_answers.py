"""What attach-cbpf answers on the command line: refusals, what stays, what is taken back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.attach_cbpf import attach
from locality.commands.take_back import take_back
from locality.reuseport.group import read_from_kernel
from locality.reuseport.target import inspect
from tests.live.helpers.commands import LOCALITY, run
from tests.live.helpers.foreign import attach_foreign
from tests.live.helpers.traffic import PATIENCE
from tests.live.helpers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Listeners = Sequence[socket.socket]

pytestmark = [pytest.mark.live, pytest.mark.attach]

SO_LOCK_FILTER = 44  # asm-generic/socket.h


@contextmanager
def two_listeners(host: str = "127.0.0.1", port: int = 0) -> Iterator[Listeners]:
    """A group of this process."""
    with (
        socket.create_server((host, port), reuse_port=True) as first,
        socket.create_server(first.getsockname(), reuse_port=True) as second,
    ):
        yield first, second


def port_of(listeners: Listeners) -> int:
    port: int = listeners[0].getsockname()[1]
    return port


@pytest.fixture
def server() -> Iterator[Listeners]:
    with two_listeners() as listeners:
        yield listeners


# Bug: an eBPF program of another owner is replaced or detached, and nobody can put it back.
@pytest.mark.parametrize("options", [("--program", "cpu"), ("--detach",)])
def test_a_program_of_another_owner_goes_by_force_only(options: tuple[str, ...]) -> None:
    with two_listeners() as (listener, _):
        attach_foreign(listener)
        theirs = read_from_kernel(listener.fileno())
        command = ("attach-cbpf", "--port", port_of([listener]), *options)
        refused = run(*command)
        assert refused.returncode == 1
        assert "(not_ours) of another owner, which could not be put back" in refused.stderr
        assert "--force" in refused.stderr
        one_socket = ("--pid", os.getpid(), "--fd", listener.fileno())
        if "--detach" in options:
            assert run("attach-cbpf", *one_socket, *options).returncode == 1
        assert read_from_kernel(listener.fileno()).ebpf == theirs.ebpf
        forced = run(*command, "--force")
        assert forced.returncode == 0, forced.stderr
        assert not read_from_kernel(listener.fileno()).is_opaque


# Bug: of a group that nobody of the asked name serves it is said that it is no group.
@pytest.mark.parametrize("options", [(), ("--detach",), ("--dry-run",)])
def test_a_name_that_nobody_has(server: Listeners, options: tuple[str, ...]) -> None:
    done = run("attach-cbpf", "--port", port_of(server), "--comm", "nosuch", *options)
    assert done.returncode == 1
    assert f"port {port_of(server)} is served by " in done.stderr
    assert "(a group of 2); no process or thread of it is called 'nosuch'" in done.stderr


# Bugs: one of two groups refuses its program, and the other keeps one that nobody verified; that
# is no error; the command ends without a word of the other.
@pytest.mark.parametrize(("options", "code"), [((), 1), (("--verify", "0.2"), 3)])
def test_a_group_that_refuses_keeps_the_other_from_nothing(
    options: tuple[str, ...], code: int
) -> None:
    with two_listeners("127.0.0.2") as willing, two_listeners(port=port_of(willing)) as others:
        # They are sorted by address, so the first one refuses.
        port = port_of(willing)
        for locked in others:
            locked.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
        done = run("attach-cbpf", "--port", port, "--program", "cpu", *options)
        assert done.returncode == code
        assert f"tcp 127.0.0.1:{port}: got no program: setsockopt" in done.stderr
        assert read_from_kernel(willing[0].fileno()).program == cbpf.cpu(2)
        assert ("after: " in done.stdout) == bool(options)
        assert ("1 of 2 groups got no program" in done.stderr) != bool(options)


# Bug: the worker that the group was changed through has ended, as in a reload, and the group keeps
# what made it worse.
@pytest.mark.parametrize("had", [None, cbpf.cpu(2)])
def test_it_is_taken_back_through_another_process(had: cbpf.Program | None) -> None:
    with two_listeners() as (ours, _):
        fd = ours.fileno()
        if had is not None:
            attach(os.getpid(), fd, had)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[fd]) as worker:
            target = inspect(worker.pid, fd)
            given = cbpf.random(2)
            attach(worker.pid, fd, given)
            assert worker.stdin
            worker.stdin.close()
        (taken,) = take_back([(target, given)])
        assert taken.as_it_was, taken.line
        assert read_from_kernel(fd).program == had


# Bug: what somebody else attached while it was measured is detached.
@pytest.mark.parametrize("had", [None, cbpf.cpu(2)])
def test_a_program_of_somebody_else_is_not_taken_back(had: cbpf.Program | None) -> None:
    with two_listeners() as (ours, _):
        fd = ours.fileno()
        if had is not None:
            attach(os.getpid(), fd, had)
        target, other = inspect(os.getpid(), fd), cbpf.queue(2)
        attach(os.getpid(), fd, other)
        (taken,) = take_back([(target, cbpf.random(2))])
        assert not taken.as_it_was
        assert f"--pid {os.getpid()} --fd {fd} --detach" in taken.line
        assert read_from_kernel(fd).program == other


# Bug: --dry-run says that a size is refused, and ends as if the program could be attached.
def test_a_dry_run_of_what_is_refused(server: Listeners) -> None:
    options = ["--program", "cpu", "--group", "5", "--dry-run"]
    wrong = ("attach-cbpf", "--port", port_of(server), *options)
    done = run(*wrong)
    assert done.returncode == 1
    assert "l0: ld cpu" in done.stdout
    assert "locality: refused: cpu % 5 is for a group of 5, the one of 127.0.0.1" in done.stderr
    assert "use --group 2 (--force attaches it anyway)" in done.stderr
    assert run(*wrong, "--force").returncode == 0


# Bugs: nobody is told that the program stays, and how to detach it; it is said among the results,
# or though only results are wanted; the command that it names does not do it.
def test_what_stays_and_how_to_take_it_away(server: Listeners) -> None:
    command = ("attach-cbpf", "--port", port_of(server), "--program", "cpu")
    done = run(*command)
    assert done.returncode == 0, done.stderr
    way = f"locality attach-cbpf --port {port_of(server)} --detach"
    assert f"the program stays attached; to detach it: {way}" in done.stderr
    assert "stays" not in done.stdout
    assert run(*way.split()[1:]).returncode == 0
    assert not read_from_kernel(server[0].fileno()).attached
    assert run(*command, "--quiet").stderr == ""


# Bug: Ctrl-C while it measures, and nobody knows whether something was changed.
def test_interrupted_before_anything_was_changed(server: Listeners) -> None:
    measuring = [*LOCALITY, "attach-cbpf", "--port", f"{port_of(server)}", "--program", "cpu"]
    with subprocess.Popen(
        [*measuring, "--verify", f"{PATIENCE}"], stderr=subprocess.PIPE, text=True
    ) as process:
        # It begins to measure with a handler of its own, which the mask in /proc does not tell;
        # a signal before that ends it in the same way.
        until(lambda: "anon_inode:[eventpoll]" in descriptors_of(process.pid))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted: nothing was changed" in said
    assert not read_from_kernel(server[0].fileno()).attached


def descriptors_of(pid: int) -> set[str]:
    """What the descriptors of a process are links to; nothing if it has ended."""
    found = set()
    with suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.add(f"{one.readlink()}")
    return found
