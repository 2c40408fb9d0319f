"""Taking events out of the ring: `Ring.read` against a libbpf callback, ns an event.

One ring, filled by one program with records the size of an accepted connection's. Both
readers take all that is there. The callback does the least a callback can do, it counts;
ours returns the records.
"""

from __future__ import annotations

import ctypes
import time
from ctypes import CFUNCTYPE, c_int, c_size_t, c_void_p
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Figure, Goal, ratios, take_turns
from benchmarks.programs import SOURCES, open_bpf
from locality.accept.batch import ACCEPT
from locality.accept.source import DEFAULT_RING
from locality.bpf.libbpf import lib
from locality.bpf.ring import Ring, slot_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from locality.bpf.object import Object

#: Records a run of the producer makes: what 2,000 connections/s leave in one period.
FEW = 100
#: Runs that fill a quarter of the ring: the kernel then wakes the reader.
RUNS_FOR_MANY = DEFAULT_RING // 4 // slot_size(ACCEPT) // FEW
MANY = RUNS_FOR_MANY * FEW
ROUNDS = 15

_SAMPLE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)


class CallbackReader:
    """libbpf's own way: ring_buffer__consume() calls Python for each record.

    Args:
        fd: The ring's descriptor.
    """

    def __init__(self, fd: int) -> None:
        self.count = 0
        # libbpf keeps the pointer, so the object behind it must live as long as the reader.
        self._callback = _SAMPLE(self._sample)
        new, self._consume, self._free = (
            lib.ring_buffer__new,
            lib.ring_buffer__consume,
            lib.ring_buffer__free,
        )
        new.restype, new.argtypes = c_void_p, (c_int, _SAMPLE, c_void_p, c_void_p)
        self._consume.argtypes = self._free.argtypes = (c_void_p,)
        self._handle = new(fd, self._callback, None, None)
        assert self._handle, ctypes.get_errno()

    def _sample(self, _context: int, _record: int, _size: int) -> int:
        self.count += 1
        return 0

    def read(self) -> int:
        """Take every record that is complete; returns how many there were."""
        before = self.count
        self._consume(self._handle)
        return self.count - before

    def close(self) -> None:
        """Give the mappings back."""
        self._free(self._handle)


def run(scratch: Path) -> Iterator[Figure]:
    options = f"-DRECORD_BYTES={ACCEPT.itemsize}", f"-DLOOPS={FEW}"
    with open_bpf(SOURCES / "flood.bpf.c", scratch, *options) as obj:
        obj.load()
        fd = obj.map_fd("events")
        ring = Ring.map(fd, obj.map_entries("events"), ACCEPT)
        callback = CallbackReader(fd)
        readers: dict[str, Callable[[], int]] = {
            "callback": callback.read,
            "ring": lambda: len(ring.read()),
        }
        many = _compare(obj, readers, runs=RUNS_FOR_MANY, readings=5)
        few = _compare(obj, readers, runs=1, readings=100)
        callback.close()
    for found, records, goal in ((many, MANY, Goal(low=15)), (few, FEW, None)):
        name = f"callback / ring, {records} records a reading"
        yield Figure(name, ratios(found["callback"], found["ring"]), "x", goal)
    for found, records in ((many, MANY), (few, FEW)):
        for reader, values in found.items():
            yield Figure(f"{reader}, {records} records a reading", values, "ns/event")


def _compare(
    obj: Object, readers: dict[str, Callable[[], int]], *, runs: int, readings: int
) -> dict[str, list[float]]:
    """ns an event of each reader, by round.

    Args:
        obj: Has the producer.
        readers: Take all there is and return how many.
        runs: Of the producer, before each reading.
        readings: In each round.
    """

    def cost(read: Callable[[], int]) -> float:
        spent = 0
        for _ in range(readings):
            for _ in range(runs):
                obj.test_run("flood")
            begin = time.perf_counter_ns()
            taken = read()
            spent += time.perf_counter_ns() - begin
            assert taken == runs * FEW, f"{taken} of {runs * FEW} records"
        return spent / (readings * runs * FEW)

    return take_turns({name: partial(cost, read) for name, read in readers.items()}, rounds=ROUNDS)
