"""Threads and descriptors of this machine, listed by BPF iterators (`probes/tasks.bpf.c`)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.errors import LocalityError
from locality.machine import pid_namespace, topology
from locality.machine.clocks import monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Collection

    from locality.arrays import Array

_REMAINDERS = 65536
_BITS = 64  # of a word of a CPU mask
_ALL = 255
_NEVER = 2**64 - 1

#: `struct thread`: `state` changes with its CPUs, its program and its name; 0 of a young process.
THREAD = np.dtype([("pid", "u4"), ("tid", "u4"), ("state", "u8")])
#: `struct descriptor`, whose `kind` is one of the three below.
DESCRIPTOR = np.dtype([("inode", "u8"), ("pid", "u4"), ("tid", "u4"), ("fd", "u4"), ("kind", "u4")])
SOCKET, EPOLL, IO_URING = 0, 1, 2


@cache
def tasks() -> Tasks:
    """The iterators, loaded once in a process and kept until its end.

    Raises:
        LocalityError: This kernel has none (they came with Linux 5.8), or refuses them.
    """
    return Tasks()


def loaded() -> bool:
    """Whether the iterators are loaded already, so that it costs nothing to use them."""
    return tasks.cache_info().currsize > 0


class Tasks:
    """Lists the threads and the descriptors of this machine; see `tasks` for errors."""

    def __init__(self) -> None:
        words = (topology.possible_cpus() + _BITS - 1) // _BITS
        constants = {**pid_namespace.rodata(), "mask_words": words}
        self._probe = Object.open("tasks", constants)
        try:
            check_layout(THREAD, self._probe.btf.struct("thread"), "thread")
            check_layout(DESCRIPTOR, self._probe.btf.struct("descriptor"), "descriptor")
            self._probe.load()
            self._probe.attach(["list_threads", "list_descriptors"])
            self._variables = self._probe.bss
            self._read("list_threads")  # to iterate may be refused, too
        except BaseException:
            self._probe.close()
            raise

    def threads(self, pids: Collection[int] | None = None, young_since: int = _NEVER) -> Array:
        """Threads, by process.

        Args:
            pids: Those of these processes, perhaps with some of others; all if None.
            young_since: And the main threads, with a state of 0, of processes that began later
                than that moment of the kernel's CLOCK_MONOTONIC, in ns.

        Returns:
            Of dtype `THREAD`.
        """
        self._variables["wanted_pids"] = _bits(pids)
        self._variables["young_since"] = young_since
        return np.frombuffer(self._read("list_threads"), THREAD)

    def descriptors(self, inodes: Collection[int] | None = None) -> Array:
        """The descriptors of sockets, and those of every epoll set and io_uring.

        Args:
            inodes: Those of these sockets, perhaps with some of others; all if None.

        Returns:
            Of dtype `DESCRIPTOR`.
        """
        self._variables["wanted_inodes"] = _bits(inodes)
        return np.frombuffer(self._read("list_descriptors"), DESCRIPTOR)

    def _read(self, program: str) -> bytes:
        try:
            return self._probe.iterate(program)
        except OSError as refusal:
            raise LocalityError(f"the iterator {program} failed: {refusal.strerror}") from None


def _bits(numbers: Collection[int] | None) -> Array | int:
    """One bit for each remainder, as the probes ask for them."""
    if numbers is None:
        return _ALL
    chosen = np.zeros(_REMAINDERS, np.uint8)
    chosen[np.fromiter(numbers, np.uint64, len(numbers)) % _REMAINDERS] = 1
    return np.packbits(chosen, bitorder="little")


def now() -> int:
    """This moment, as `Tasks.threads` takes it."""
    return monotonic_ns()
