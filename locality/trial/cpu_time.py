"""The CPU time of a server's threads, from /proc/PID/task/TID/schedstat.

The scheduler adds to it when a thread leaves its CPU, and at each tick of a thread that runs on.
It includes the softirqs that ran in the thread's context, unless the kernel accounts for them
apart (CONFIG_IRQ_TIME_ACCOUNTING).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.machine.clocks import monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.arrays import Array

#: Seconds between two entries of a history.
SLICE_S = 0.1
#: A window is no longer than this: the effect of one connection is lost in it.
_LONGEST_WINDOW = 20
_FEWEST_SLICES = 20


def cpu_time(pids: Iterable[int]) -> int | None:
    """ns on a CPU of all threads of some processes; None if one of these has ended."""
    total = 0
    for pid in pids:
        directory = f"/proc/{pid}/task"
        try:
            for tid in os.listdir(directory):  # noqa: PTH208 - read ten times a second
                with open(f"{directory}/{tid}/schedstat", "rb") as file:  # noqa: PTH123
                    total += int(file.read().split()[0])
        except (OSError, IndexError):
            # A thread that ended took its time with it.
            return None
    return total


@dataclass
class CpuHistory:
    """The CPU time of a server over a trial by connection, and each connection's part in it.

    A worker serves connections of both arms, so its CPU time is of neither. But the coin makes
    more of one arm than of the other begin in some tenths of a second: where arm B costs more, the
    workers then use more. For a connection the value is the CPU time of all workers from the slice
    of its accept on, for so many slices as a connection usually lasts. The difference between the
    means of both arms is then what one connection more in B than in A costs: all else that
    happens in a slice happens to both arms alike, for the coin knows nothing of it. What the time
    between two readings and the number of connections explain is taken out before, which makes
    the scatter smaller and moves no mean of an arm against the other.

    Args:
        pids: The server's processes.

    Attributes:
        times: When it was read: the kernel's CLOCK_MONOTONIC, ns, as probes have it.
        totals: ns on a CPU until then, of all threads.
    """

    pids: tuple[int, ...]
    times: list[int] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)

    def note(self) -> None:
        """Read once more, if it is time."""
        now = monotonic_ns()
        if self.times and now - self.times[-1] < SLICE_S * 1e9:
            return
        total = cpu_time(self.pids) if self.pids else None
        if total is not None:
            self.times.append(now)
            self.totals.append(total)

    def values(self, accepted: Array, lifetime_ns: float) -> Array:
        """(connections,) the value of each in us; NaN where it is not known.

        It is known of none where a difference would have to be larger than all the CPU time of a
        connection to be seen: what else runs on the machine scatters too much for these few.

        Args:
            accepted: (connections,) when each was accepted: CLOCK_MONOTONIC, ns.
            lifetime_ns: How long a connection usually lasts. It must not come from these
                connections: the arm may change it.
        """
        window = 1 + int(np.ceil(lifetime_ns / (SLICE_S * 1e9)))
        unknown = np.full(len(accepted), np.nan)
        if window > _LONGEST_WINDOW or len(self.times) < _FEWEST_SLICES + window:
            return unknown
        times, totals = np.array(self.times), np.array(self.totals, np.float64)
        place = np.searchsorted(times, accepted.astype(np.int64), "right") - 1
        slices = len(times) - window
        known = (place >= 0) & (place < slices)
        began = np.bincount(place[known], minlength=len(times)).astype(np.float64)
        per_window = np.convolve(began, np.ones(window))[window - 1 :][:slices]
        used = totals[window:] - totals[:-window]
        lasted = (times[window:] - times[:-window]).astype(np.float64)
        explained = np.stack([lasted, per_window], axis=1)
        fit, *_ = np.linalg.lstsq(explained, used, rcond=None)
        connections = began[:-1].sum()
        if not connections or np.any(np.diff(totals) < 0):  # a process was replaced
            return unknown
        each = (totals[-1] - totals[0]) / connections
        apart = (used - explained @ fit)[place[known]]
        # The error of the difference of the two means.
        if 2 * apart.std() / np.sqrt(max(1, len(apart))) > each:
            return unknown
        unknown[known] = (apart - apart.mean() + each) / 1000
        return unknown
