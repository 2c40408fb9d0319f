"""How far apart two CPUs are, from what sysfs says of cores, caches and nodes.

Sources: Documentation/ABI/stable/sysfs-devices-system-cpu (topology/),
Documentation/ABI/testing/sysfs-devices-system-cpu (cache/) and
Documentation/ABI/stable/sysfs-devices-node.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locality.errors import LocalityError
from locality.machine.digits import hexadecimal, whole
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

SYSFS = Path("/sys/devices/system")
#: No kernel can be built for more CPUs (NR_CPUS of arch/x86/Kconfig), so no list names more.
MOST_CPUS = 8192


class Distance(IntEnum):
    """What two CPUs share, nearest first."""

    CPU = 0
    CORE = 1
    LLC = 2
    NODE = 3
    REMOTE = 4
    UNKNOWN = 5

    @property
    def word(self) -> str:
        """The name used in output: cpu, core, llc, node, remote or unknown."""
        return self.name.lower()

    @property
    def phrase(self) -> str:
        """What two such CPUs share, in words: ``same CPU``, ``other node``."""
        return _PHRASES[self]


_PHRASES = (
    *("same CPU", "same core", "same LLC", "same node", "other node"),
    "not known how far",
)

#: Names by value, to turn an array of distances into words in one step.
WORDS = np.array([distance.word for distance in Distance])


def parse_cpu_list(text: str) -> list[int]:
    """The CPUs of a kernel list such as ``0-3,8``; an empty text is no CPU.

    Raises:
        ValueError: It is no such list, or names a CPU that no kernel has.
    """
    cpus: list[int] = []
    for part in filter(None, text.removesuffix("\n").split(",")):
        first, dash, last = part.partition("-")
        begin = whole(first)
        end = whole(last) if dash else begin
        if not begin <= end < MOST_CPUS:
            raise ValueError(f"{part!r} names no CPUs: a kernel has 0 to {MOST_CPUS - 1} at most")
        cpus.extend(range(begin, end + 1))
    return cpus


def format_cpu_mask(cpus: Collection[int]) -> str:
    """CPUs as the kernel reads a mask (bitmap_parse): hexadecimal, 32 bits a group.

    >>> format_cpu_mask([0, 1, 33])
    '2,00000003'
    """
    bits = sum(1 << cpu for cpu in set(cpus))
    groups = [f"{bits & 0xFFFFFFFF:x}"]
    while bits := bits >> 32:
        groups[0] = groups[0].zfill(8)
        groups.insert(0, f"{bits & 0xFFFFFFFF:x}")
    return ",".join(groups)


def parse_cpu_mask(text: str) -> list[int]:
    """The CPUs of a kernel mask such as ``f,00000001``; ValueError if it is none."""
    digits = text.removesuffix("\n").replace(",", "")
    if len(digits) > MOST_CPUS // 4:
        raise ValueError(f"a mask of {len(digits)} digits is for more CPUs than a kernel has")
    bits = hexadecimal(digits)
    return [cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1]


def format_cpu_list(numbers: Iterable[int]) -> str:
    """Numbers as the kernel writes CPU lists: ``0-3,8``; empty for none."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{first}-{last}" if first < last else f"{first}" for first, last in spans)


def possible_cpus(sysfs: Path = SYSFS) -> int:
    """How many CPU numbers there can be: per-CPU tables of the kernel have this many rows.

    Raises:
        LocalityError: sysfs does not tell.
    """
    return max(_some_cpus(sysfs / "cpu/possible")) + 1


def online_cpus(sysfs: Path = SYSFS) -> list[int]:
    """The CPUs in use now, ascending.

    Raises:
        LocalityError: sysfs does not tell.
    """
    return _some_cpus(sysfs / "cpu/online")


def _some_cpus(path: Path) -> list[int]:
    """The CPUs that a file lists; there are some."""
    try:
        cpus = parse_cpu_list(path.read_text("ascii"))
    except OSError as error:
        raise LocalityError(
            f"cannot read {path}, which lists the CPUs: {error.strerror}; is sysfs mounted on /sys "
            "(mount -t sysfs sysfs /sys)?"
        ) from None
    except ValueError as error:
        raise LocalityError(f"{path} holds no list of CPUs: {printable(str(error))}") from None
    if not cpus:
        raise LocalityError(f"{path} lists no CPU")
    return cpus


@dataclass(frozen=True)
class Topology:
    """The CPUs of a machine.

    Attributes:
        possible: See `possible_cpus`.
        online: The CPUs in use now, ascending.
        distances: (possible + 1, possible + 1) of `Distance` values. The last row and
            column belong to "no CPU", so that index -1 reads as unknown.
    """

    possible: int
    online: tuple[int, ...]
    distances: np.ndarray[tuple[int, int], np.dtype[np.uint8]]

    def distance(
        self,
        one: np.ndarray[tuple[int, ...], np.dtype[np.integer]],
        other: np.ndarray[tuple[int, ...], np.dtype[np.integer]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Distances of the CPUs in the same places of two arrays, which are broadcast.

        A CPU number outside the machine is at an unknown distance.
        """
        outside = self.possible
        safe = [np.where((cpu >= 0) & (cpu < outside), cpu, outside) for cpu in (one, other)]
        return self.distances[safe[0], safe[1]]

    @cached_property
    def classes(self) -> frozenset[Distance]:
        """The distances that there are between CPUs here; unknown is none."""
        inside = self.distances[: self.possible, : self.possible].ravel()
        found = np.flatnonzero(np.bincount(inside, minlength=1)).tolist()
        return frozenset(map(Distance, found)) - {Distance.UNKNOWN}


def read(sysfs: Path = SYSFS) -> Topology:
    """Read this machine's topology.

    What sysfs does not tell (a small virtual machine has no caches) counts as not shared: a
    distance is never made nearer by a guess. An offline CPU is in no list, and how far it is
    from others is not known. Every CPU of a machine without NUMA directories is on one node.

    Raises:
        LocalityError: sysfs does not tell which CPUs there are.
    """
    possible = possible_cpus(sysfs)
    online = [cpu for cpu in online_cpus(sysfs) if cpu < possible]
    distances = np.full((possible + 1, possible + 1), Distance.REMOTE, np.uint8)
    nodes = [_shared(path, possible) for path in (sysfs / "node").glob("node*/cpulist")]
    for cpus in nodes or [list(range(possible))]:
        distances[np.ix_(cpus, cpus)] = Distance.NODE
    for cpu in online:
        directory = sysfs / "cpu" / f"cpu{cpu}"
        distances[cpu, _last_level_cache(directory, possible)] = Distance.LLC
        siblings = _shared(directory / "topology/thread_siblings_list", possible)
        distances[cpu, siblings] = Distance.CORE
    # Not np.setdiff1d, which imports numpy.ma.
    offline = sorted({*range(possible)} - {*online})
    distances[offline, :] = distances[:, offline] = Distance.UNKNOWN
    np.fill_diagonal(distances, Distance.CPU)
    distances[possible, :] = distances[:, possible] = Distance.UNKNOWN
    return Topology(possible, tuple(online), distances)


def _last_level_cache(cpu: Path, possible: int) -> list[int]:
    """The CPUs that share this CPU's cache of the highest level."""
    levels: list[tuple[int, list[int]]] = []
    for index in (cpu / "cache").glob("index*"):
        with suppress(OSError, ValueError):
            level = whole((index / "level").read_text().strip())
            levels.append((level, _shared(index / "shared_cpu_list", possible)))
    return max(levels)[1] if levels else []


def _shared(path: Path, possible: int) -> list[int]:
    """The CPUs of this machine that a file lists; none if it cannot be read, or lists none."""
    try:
        return [cpu for cpu in parse_cpu_list(path.read_text()) if cpu < possible]
    except (OSError, ValueError):
        return []
