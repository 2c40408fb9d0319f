"""Whether this kernel selects by SO_INCOMING_CPU, and what is made of each of three answers."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.errors import LocalityError
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.steering import incoming_effect
from locality.steering.incoming_effect import (
    Effect,
    as_this_kernel_selects,
    effect,
    require_effective,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = Group((Member(1, (), 0), Member(2, (), 1)), True, False, None, "read from the kernel")
FOUND = FoundGroup("tcp", "0.0.0.0", 80, 1, 10, 3, GROUP)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """What another test found out is forgotten, and so is what was found out here."""
    incoming_effect.chooses_by_cpu.cache_clear()
    yield
    incoming_effect.chooses_by_cpu.cache_clear()


# Bug: in a network namespace whose loopback is down, what failed is said to be standard output, or
# the kernel is said to ignore the option.
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="limitation: one CPU")
def test_the_loopback_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_address: object) -> socket.socket:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "create_connection", unreachable)
        assert effect().works is None
        with pytest.raises(LocalityError, match="Network is unreachable; is lo up"):
            require_effective()
    assert effect().works is not None  # what was not known is not kept


# Bug: a process that may run on one CPU takes every kernel for one that ignores the option.
def test_one_cpu_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert effect() == Effect(
        None, "this process may run on one CPU only, and testing it takes two"
    )
    with pytest.raises(LocalityError, match="SO_INCOMING_CPU: this process may run"):
        require_effective()


# Bug: that no file may be opened any more passes for an answer of the kernel's.
def test_a_limit_of_ours_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_address: object, **_more: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(socket, "create_server", full)
    with pytest.raises(OSError, match="Too many open files"):
        effect()


# Bugs: what is not known passes for "ignored", or for "works".
@pytest.mark.parametrize(
    ("answer", "cpus", "doubt"),
    [
        (Effect(True), [0, 1], ""),
        (Effect(False), [None, None], ""),
        (Effect(None, "one CPU only"), [0, 1], "one CPU only"),
    ],
)
def test_three_answers(
    monkeypatch: pytest.MonkeyPatch, answer: Effect, cpus: list[int | None], doubt: str
) -> None:
    monkeypatch.setattr(incoming_effect, "effect", lambda: answer)
    (found,) = as_this_kernel_selects([FOUND])
    assert [member.incoming_cpu for member in found.group.members] == cpus
    assert found.group.incoming_doubt == doubt


# Bug: a group that has a program, or no SO_INCOMING_CPU, is in doubt of what does not matter to it.
def test_the_kernel_is_asked_only_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_effect, "effect", lambda: Effect(None, "one CPU only"))
    program = replace(FOUND, group=replace(GROUP, attached=True, program=cbpf.cpu(2)))
    plain = replace(FOUND, group=replace(GROUP, members=(Member(1), Member(2))))
    assert as_this_kernel_selects([program, plain]) == [program, plain]
    assert [bool(one.group.incoming_doubt) for one in as_this_kernel_selects([plain, FOUND])] == [
        False,
        True,
    ]
