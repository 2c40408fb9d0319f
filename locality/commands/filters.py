"""Options that say whose events a measurement is about, beyond ports and pids.

They are text until the command runs: what they name must be found on the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import click

if TYPE_CHECKING:
    from locality.machine.cgroups import Cgroup

C = TypeVar("C", bound=Callable[..., Any])


class Places(TypedDict):
    """Arguments of `locality.filter.Wanted`."""

    netns: int | None
    cgroup: Cgroup | None


def netns_option(what: str) -> Callable[[C], C]:
    """Choose a network namespace.

    Args:
        what: What is done with what is in it: how the help text begins.
    """
    return click.option(
        "--netns",
        metavar="INODE|PID|NAME",
        help=f"{what} in this network namespace: its inode, a process in it, or its ip netns name.",
    )


def cgroup_option(what: str) -> Callable[[C], C]:
    """Choose a cgroup.

    Args:
        what: What is done with the threads in it: how the help text begins.
    """
    return click.option(
        "--cgroup", metavar="PATH", help=f"{what} in this cgroup (v2) or one below it."
    )


def namespace(netns: str | None) -> int | None:
    """The inode of what ``--netns`` names.

    Raises:
        LocalityError: It names nothing.
    """
    from locality.machine.namespaces import network_namespace

    return None if netns is None else network_namespace(netns)


def places(netns: str | None, cgroup: str | None) -> Places:
    """What ``--netns`` and ``--cgroup`` name.

    Raises:
        LocalityError: One of them names nothing.
    """
    from locality.machine.cgroups import find

    return {"netns": namespace(netns), "cgroup": None if cgroup is None else find(cgroup)}
