"""Why attach-cbpf finds no group."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from locality.commands.steering_groups import why_none
from locality.reuseport.group import Group, Member
from locality.reuseport.servers import server_of
from locality.reuseport.survey import FoundGroup

TWO = Group((Member(1), Member(2)), True, False, None, "")
US = os.getpid()
SHARED = FoundGroup("tcp", "127.0.0.1", 80, 1, US, 3, TWO, pids=frozenset({US}))
ALONE = replace(SHARED, group=Group((Member(1),), True, False, None, ""), shares=False)
WE = server_of(US).name


def why(*on_port: FoundGroup, **asked: object) -> str:
    request = {"port": 80, "proto": None, "comm": None, "pid": None, **asked}
    return why_none(SimpleNamespace(**request), [*on_port])  # type: ignore[arg-type]


# Bug: of a real group that nobody of the asked name serves it is said that it has one socket,
# without SO_REUSEPORT.
@pytest.mark.parametrize(
    ("on_port", "asked", "said"),
    [
        (
            (SHARED,),
            {"comm": "nosuch"},
            (
                f"port 80 is served by {WE} (a group of 2); no process or thread of it is called "
                "'nosuch'"
            ),
        ),
        (
            (SHARED, replace(SHARED, address="[::]"), replace(ALONE, address="127.0.0.2")),
            {"pid": 1, "comm": "init"},
            f"port 80 is served by {WE} (2 groups); process 1 holds no socket of it",
        ),
        (
            (replace(SHARED, pids=frozenset(), pid=None),),
            {"comm": "nosuch"},
            (
                "port 80 has a group of 2, but which processes hold it cannot be seen: run as "
                "root, or leave --comm and --pid out"
            ),
        ),
        (
            (replace(SHARED, protocol="mptcp"),),
            {},
            (
                "mptcp 127.0.0.1:80 has MPTCP listeners only, and these take no program: listen "
                "with plain TCP"
            ),
        ),
        (
            (SHARED,),
            {"proto": "udp"},
            "nothing of UDP is on port 80, only tcp 127.0.0.1:80",
        ),
        ((), {"proto": "udp"}, ""),
    ],
)
def test_why_no_group_is_meant(
    on_port: tuple[FoundGroup, ...], asked: dict[str, object], said: str
) -> None:
    assert why(*on_port, **asked) == said


# The one case in which there is nothing to choose from.
def test_a_socket_that_is_alone() -> None:
    assert why(ALONE, comm="nosuch").startswith(
        "tcp 127.0.0.1:80 has one socket, without SO_REUSEPORT, so there is nothing to choose from"
    )
