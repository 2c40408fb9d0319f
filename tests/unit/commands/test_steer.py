"""What attach-cbpf does with several groups, and at its end."""

from __future__ import annotations

import os
import socket
from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from locality import cbpf
from locality.commands import steer, steering_incoming
from locality.commands.steering_end import saying_if_interrupted, stays
from locality.commands.steering_request import CBPF, INCOMING_CPU, Request
from locality.errors import LocalityError
from locality.reuseport.ebpf import EbpfProgram
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.steering import attachment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

GONE = 7
"""The process whose socket cannot be reached any more."""


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes through whose sockets groups were changed."""
    through: list[int] = []

    def change(pid: int, *_rest: object) -> dict[int, str]:
        if pid == GONE:
            raise LocalityError(f"pidfd_open({pid}): ESRCH")
        through.append(pid)
        return {}

    monkeypatch.setattr(attachment, "attach", change)
    monkeypatch.setattr(attachment, "detach", change)
    return through


# Bug: of several groups the first has no program, and the others keep theirs.
def test_each_group_is_detached(
    changed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def groups(pids: Collection[int]) -> list[FoundGroup]:
        none = Group((Member(1),), True, False, None, "")
        return [FoundGroup("tcp", f"127.0.0.{pid}", 80, 1, pid, 3, none) for pid in pids]

    request = SimpleNamespace(socket=None, force=False)
    monkeypatch.setattr(steer, "groups_of_one_server", lambda _request: groups([GONE, 8, 9]))
    with pytest.raises(LocalityError, match="1 of 3 groups were not changed"):
        steer.detach_programs(request)  # type: ignore[arg-type]
    assert changed == [8, 9]
    assert "tcp 127.0.0.7:80: not changed: pidfd_open(7): ESRCH" in capsys.readouterr().err
    monkeypatch.setattr(steer, "groups_of_one_server", lambda _request: groups([GONE]))
    with pytest.raises(LocalityError, match=r"^pidfd_open\(7\): ESRCH"):
        steer.detach_programs(request)  # type: ignore[arg-type]


# Bugs: --detach takes away an eBPF program of another owner, which cannot be put back; it cannot be
# taken away even with --force; that of one group keeps the others on theirs.
def test_a_program_of_another_owner_is_detached_by_force_only(
    changed: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = Group((Member(1),), True, True, None, "", EbpfProgram(12, "balance"))
    ours = Group((Member(2),), True, True, cbpf.cpu(1), "")
    groups = [
        FoundGroup("tcp", f"127.0.0.{pid}", 80, 1, pid, 3, group)
        for pid, group in ((8, theirs), (9, ours))
    ]
    monkeypatch.setattr(steer, "groups_of_one_server", lambda _request: groups)
    request = SimpleNamespace(socket=None, force=False)
    with pytest.raises(LocalityError, match="1 of 2 groups were not changed"):
        steer.detach_programs(request)  # type: ignore[arg-type]
    assert changed == [9]
    assert "could not be put back: --force detaches it all the same" in capsys.readouterr().err
    request.force = True
    steer.detach_programs(request)  # type: ignore[arg-type]
    assert changed == [9, 8, 9]


# Bugs: nobody is told that the program stays; the command that takes it away acts on other groups
# than those that were steered.
@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({"port": 80}, "--port 80"),
        (
            {"port": 80, "proto": "udp", "netns": 4026531840, "comm": "a b"},
            "--port 80 --proto udp --comm 'a b' --netns 4026531840",
        ),
        ({"pid": 7, "fd": 3, "group": 2}, "--pid 7 --fd 3"),
        ({"port": 80, "means": INCOMING_CPU}, "--port 80 --with incoming-cpu"),
    ],
)
def test_how_to_take_it_away(options: dict[str, Any], command: str) -> None:
    nothing = dict.fromkeys(one.name for one in fields(Request))
    asked = Request(**{**nothing, "means": CBPF, **options})
    what = "SO_INCOMING_CPU stays set; to take it away"
    if asked.means == CBPF:
        what = "the program stays attached; to detach it"
    assert stays(asked) == f"{what}: locality attach-cbpf {command} --detach"


# Bug: Ctrl-C before anything was changed, and nobody knows whether it was.
def test_how_things_are_is_said_where_it_is_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(KeyboardInterrupt), saying_if_interrupted("nothing was changed"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "locality: interrupted: nothing was changed\n"


# Bug: SO_INCOMING_CPU is said to be taken away from sockets that had none.
def test_incoming_cpu_is_taken_from_those_that_have_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        inodes = [os.fstat(each.fileno()).st_ino for each in (one, other)]
        group = Group(tuple(map(Member, inodes)), True, False, None, "")
        found = FoundGroup("tcp", "127.0.0.1", 80, 1, os.getpid(), one.fileno(), group)
        monkeypatch.setattr(steering_incoming, "groups_of_one_server", lambda _request: [found])
        other.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, 0)
        for _ in range(2):
            steering_incoming.clear_incoming_cpus(SimpleNamespace())  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines() == [
        "tcp 127.0.0.1:80: SO_INCOMING_CPU taken away from 1 socket",
        "tcp 127.0.0.1:80: no socket has SO_INCOMING_CPU; nothing to do",
    ]


# Bugs: with --detach-on-exit the program stays where the command ends by an error, or because
# nobody reads what it prints.
@pytest.mark.parametrize("ended", [BrokenPipeError, LocalityError, KeyboardInterrupt])
def test_whatever_ends_a_follower_the_program_is_detached(
    ended: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    detached: list[str] = []

    def refuse(*_given: object) -> None:
        raise LocalityError("no probe here")

    def end(*_given: object) -> None:
        raise ended("gone")

    def detach(_follower: object) -> Iterator[str]:
        for name in ("one", "another"):
            detached.append(name)
            yield name

    def broken(_lines: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("locality.accept.source.AcceptSource", refuse)
    monkeypatch.setattr("locality.reuseport.changes.Changes", refuse)
    monkeypatch.setattr("locality.steering.follow.follow", end)
    monkeypatch.setattr("locality.steering.follow.Follower.detach", detach)
    monkeypatch.setattr(steer, "show", broken)
    request = SimpleNamespace(port=80, netns=1, detach_on_exit=True)
    with pytest.raises(BrokenPipeError):
        steer.follow_groups(request, {})  # type: ignore[arg-type]
    assert detached == ["one", "another"]
