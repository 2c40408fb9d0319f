"""Whether anything has changed that a look at groups depends on: that is asked every second.

A look reads every descriptor of the machine, and what every thread of the servers waits for. Most
of the time it finds what it found before. What it depends on is asked here in some milliseconds,
also of a thousand groups:

- which sockets are bound to the port (`sock_diag`);
- what the groups are: sockets, order, program, and which epoll sets watch each socket
  (`probes/reuseport_group.bpf.c`, by the kernel's addresses, without a descriptor);
- the threads of the processes that hold the sockets, the CPUs they may run on, their names and
  programs, and whether a young process holds one of the sockets (`bpf.tasks`);
- which CPUs are online.

Not seen is a thread that begins to wait for a socket that was there before, without epoll. A probe
sees it accept, and `follow` looks closely now and then whatever this says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.tasks import THREAD, now, tasks
from locality.machine import topology
from locality.reuseport.descriptors import held_sockets
from locality.reuseport.group import kernel_probe
from locality.reuseport.places import TABLES, Namespace

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from locality.arrays import Array
    from locality.reuseport.survey import FoundGroup

_SLICE = 64  # SLICE of probes/reuseport_group.bpf.c
_OVERLAP_NS = 1_000_000_000
"""A process is seen a little after the moment that counts as its beginning."""

#: `struct member_state` of probes/reuseport_member.h.
STATE = np.dtype(
    [
        ("sk", "u8"),
        ("inode", "u8"),
        ("group", "u8"),
        ("prog", "u8"),
        ("filter", "u8"),
        ("watchers", "u8"),
        ("index", "u4"),
        ("num_socks", "u4"),
    ]
)


class Changes:
    """Sees whether anything changed since a look.

    `begin` goes before a look at the groups, `found` after it; then `seen` says, as often as it is
    asked, whether another look could find something else.

    Args:
        ports: Of the groups.
        netns: Inode of the network namespace.

    Raises:
        LocalityError: This kernel does not let us ask.
    """

    def __init__(self, ports: Collection[int], netns: int) -> None:
        self._ports = frozenset(ports)
        self._netns = netns
        self._groups = GroupStates()
        self._threads = _Threads()
        self._namespace = self._ours()
        self._bound: frozenset[int] | None = None
        self._known = frozenset[int]()
        self._pids = frozenset[int]()
        self._online: list[int] = []

    def begin(self) -> None:
        """Take note of what there is, before a look: what changes during it counts, too."""
        self._all_threads = self._threads.everybody()
        self._online = topology.online_cpus()
        self._bound = self._bound_now()

    def found(self, groups: Sequence[FoundGroup]) -> None:
        """Take note of what the look found."""
        self._known = frozenset[int]().union(*(one.inodes for one in groups)) - {0}
        self._pids = frozenset[int]().union(*(one.pids for one in groups))
        self._groups.expect(b"".join(one.group.state for one in groups))
        self._threads.expect(self._all_threads, self._pids)
        if self._ours() is None:
            self._namespace = Namespace(self._netns, tuple(sorted(self._pids)))
            if self._bound is None:
                self._bound = self._bound_now()

    def seen(self) -> bool:
        """Whether anything has changed since `begin`."""
        return (
            self._bound is None
            or self._groups.changed()
            or self._bound_now() != self._bound
            or topology.online_cpus() != self._online
            or self._threads_changed()
        )

    def _threads_changed(self) -> bool:
        young = self._threads.changed()
        if young is None:
            return True
        # A process that has just begun may have inherited a socket.
        return any(self._known.intersection(held_sockets(pid).values()) for pid in young)

    def _bound_now(self) -> frozenset[int] | None:
        """The sockets that are bound to the ports now; None if that cannot be asked."""
        if self._namespace is None or not self._namespace.pids:
            return None
        return frozenset(
            one.inode
            for table in TABLES
            for one in self._namespace.bound_sockets(table, self._ports)
        )

    def _ours(self) -> Namespace | None:
        """Our own network namespace, if it is the one of the groups."""
        try:
            ours = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - asked every second
        except OSError:
            return None
        return Namespace(self._netns, (os.getpid(),)) if ours == self._netns else None


class GroupStates:
    """Members of groups, and whether they are what they were: sockets, order, program.

    Raises:
        LocalityError: This kernel does not let us ask.
    """

    def __init__(self) -> None:
        self._probe = kernel_probe()
        check_layout(STATE, self._probe.btf.struct("member_state"), "member_state")
        self._variables = self._probe.bss
        self._expected = np.zeros(0, STATE)

    def expect(self, states: bytes) -> None:
        """Compare with these from now on."""
        self._expected = np.frombuffer(states, STATE)

    def changed(self) -> bool:
        """Whether one of them is not what it was."""
        for first in range(0, len(self._expected), _SLICE):
            expected = self._expected[first : first + _SLICE]
            self._variables["expected"][: len(expected)] = expected
            self._variables["num_expected"] = len(expected)
            if self._probe.test_run("count_changed"):
                return True
        return False


class _Threads:
    """The threads of some processes, and whether they are what they were."""

    def __init__(self) -> None:
        self._tasks = tasks()
        self._pids = np.zeros(0, np.uint32)
        self._expected = np.zeros(0, THREAD)

    def everybody(self) -> Array:
        """All threads of the machine: dtype `THREAD`."""
        self._since = now() - _OVERLAP_NS
        return self._tasks.threads()

    def expect(self, threads: Array, pids: Collection[int]) -> None:
        """Compare with these from now on, as far as they are of some processes."""
        self._pids = np.fromiter(pids, np.uint32, len(pids))
        self._expected = threads[np.isin(threads["pid"], self._pids)]

    def changed(self) -> list[int] | None:
        """Other processes that began since this was asked last; None if a thread has changed."""
        since, self._since = self._since, now() - _OVERLAP_NS
        threads = self._tasks.threads(self._pids, since)
        ours = np.isin(threads["pid"], self._pids)
        if not np.array_equal(threads[ours], self._expected):
            return None
        young = threads[~ours & (threads["state"] == 0)]
        return [int(pid) for pid in young["pid"]]
