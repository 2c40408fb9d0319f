"""The maps of a loaded spill program: what tells it the table, and what it counts.

A program holds its maps, and a group its program. So both outlive the process that made them, and
another one finds them: the kernel tells the program's id, the program its maps' ids.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from locality.bpf.abi import MapInfo, info_of, map_ids_of
from locality.bpf.libbpf import lib
from locality.errors import LocalityError
from locality.machine.limits import raise_if_ours
from locality.machine.topology import Distance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from locality.arrays import Array
    from locality.bpf.object import Object

#: `struct spill_route` and `struct spill_choice` of the probe.
ROUTE = np.dtype(
    [
        ("bound", "u4"),
        ("workers", "u2"),
        ("known", "u2"),
        ("ends", "u2", (len(Distance),)),
        ("reserved", "u2", (2,)),
    ]
)
CHOICE = np.dtype([("place", "u2"), ("distance", "u2"), ("reserved", "u2", (2,))])
#: `struct spill_counts`: one for each CPU; how often the program gave each kind of answer.
COUNTS = np.dtype(
    [
        ("kept", "u8"),
        ("kept_long", "u8"),
        ("spilled", "u8", (len(Distance),)),
        ("no_worker", "u8"),
        ("closed", "u8"),
        ("newcomers", "u8"),
        ("reserved", "u8", (5,)),
    ]
)
#: `struct spill_worker`: the same for one socket.
WORKER = np.dtype([("kept", "u8"), ("spilled", "u8")])
#: The address of the socket in a place, or 0; the program's own.
SEEN = np.dtype("u8")
LAYOUTS = {
    "spill_route": ROUTE,
    "spill_choice": CHOICE,
    "spill_counts": COUNTS,
    "spill_worker": WORKER,
}
#: The maps that are arrays, and what is in them; the kernel keeps 15 characters of a name.
ARRAYS = {
    "spill_routes": ROUTE,
    "spill_counters": COUNTS,
    "spill_order": CHOICE,
    "spill_workers": WORKER,
    "spill_seen": SEEN,
}
SOCKETS = "spill_sockets"
PROGRAM = "locality_spill"

_ARRAY, _SOCKARRAY = 2, 20  # include/uapi/linux/bpf.h: enum bpf_map_type
_NOEXIST = 1
_COOKIE_BYTES = 8


class Maps:
    """The maps of one program. Everything read or written here is at once so in the kernel.

    Args:
        fds: Their descriptors, by name; they are closed with this object.
        infos: What the kernel tells of each.

    Attributes:
        capacity: How many sockets there is room for.
        routes: (CPUs,) of ROUTE.
        order: (CPUs, capacity) of CHOICE.
        counters: (CPUs,) of COUNTS.
        workers: (CPUs, capacity) of WORKER.
        departed: (CPUs,) of WORKER: of sockets that have left, whose places are used again.
    """

    def __init__(self, fds: Mapping[str, int], infos: Mapping[str, MapInfo]) -> None:
        self._fds = dict(fds)
        self.capacity = int(infos[SOCKETS].max_entries)
        self.routes = self._mapped("spill_routes", infos)
        self.counters = self._mapped("spill_counters", infos)
        cpus = len(self.routes)
        self.order = self._mapped("spill_order", infos).reshape(cpus, self.capacity)
        workers = self._mapped("spill_workers", infos)
        self.workers = workers[: cpus * self.capacity].reshape(cpus, self.capacity)
        self.departed = workers[cpus * self.capacity :]
        self._seen = self._mapped("spill_seen", infos)

    def _mapped(self, name: str, infos: Mapping[str, MapInfo]) -> Array:
        kind, count = ARRAYS[name], int(infos[name].max_entries)
        memory = mmap.mmap(self._fds[name], count * kind.itemsize, mmap.MAP_SHARED)
        return np.ndarray((count,), kind, buffer=memory)

    @classmethod
    def of_object(cls, obj: Object) -> Self:
        """The maps of a loaded object; they stay when that is closed."""
        return cls._opened({name: os.dup(obj.map_fd(name)) for name in (*ARRAYS, SOCKETS)})

    @classmethod
    def of_program(cls, number: int) -> Self:
        """The maps of a program by its id.

        Raises:
            LocalityError: The kernel refuses (without CAP_SYS_ADMIN it does), the program has
                gone, or it is not as this version of locality makes it.
        """
        program = _open("program", lib.bpf_prog_get_fd_by_id, number)
        try:
            ids = map_ids_of(program)
        finally:
            os.close(program)
        fds: dict[str, int] = {}
        with ExitStack() as stack:
            for one in ids:
                fd = _open("map", lib.bpf_map_get_fd_by_id, one)
                info = info_of(fd, MapInfo)
                name = "" if info is None else info.name.decode(errors="replace")
                if name in fds or name not in {*ARRAYS, SOCKETS}:
                    os.close(fd)
                    continue
                fds[name] = fd
                stack.callback(os.close, fd)
            opened = cls._opened(fds)
            stack.pop_all()
        return opened

    @classmethod
    def _opened(cls, fds: Mapping[str, int]) -> Self:
        """Maps of these descriptors; LocalityError if they are not what the program has."""
        infos = {name: info for name, fd in fds.items() if (info := info_of(fd, MapInfo))}
        if not _fit(infos):
            raise LocalityError(
                "its maps are not as this version of locality makes them: it was attached by "
                "another version, or it only has the name; attach it again (attach-cbpf --spill)"
            )
        return cls(fds, infos)

    def cookies(self) -> dict[int, int]:
        """The sockets that are in the map now: SO_COOKIE to place."""
        found: dict[int, int] = {}
        value = ctypes.c_uint64()
        for place in range(self.capacity):
            key = ctypes.c_uint32(place)
            if not lib.bpf_map_lookup_elem(
                self._fds[SOCKETS], ctypes.byref(key), ctypes.byref(value)
            ):
                found[value.value] = place
        return found

    def enter(self, place: int, socket_fd: int) -> None:
        """Put a socket of this process into an empty place.

        Raises:
            OSError: The kernel refused: EBUSY for a socket that is in a map of this type already,
                EINVAL for one that is in no group.
        """
        self._seen[place] = 0
        # What was counted there was another's.
        for name in WORKER.names or ():
            self.departed[name] += self.workers[name][:, place]
            self.workers[name][:, place] = 0
        key, value = ctypes.c_uint32(place), ctypes.c_uint64(socket_fd)
        if lib.bpf_map_update_elem(
            self._fds[SOCKETS], ctypes.byref(key), ctypes.byref(value), _NOEXIST
        ):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def release(self) -> None:
        """Take every socket out, so that another map can have it; for a program that is detached.

        When a program has gone the kernel does so by itself, which takes seconds on a busy machine,
        and as long as any process has the map open it does not.
        """
        for place in self.cookies().values():
            lib.bpf_map_delete_elem(self._fds[SOCKETS], ctypes.byref(ctypes.c_uint32(place)))

    def forget_addresses(self) -> None:
        """Have the program learn the sockets' addresses anew, when it selects them next."""
        self._seen[:] = 0

    def close(self) -> None:
        """Close the descriptors. Safe to call twice."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


#: The maps that this process has open, by the ids of their programs. Those of programs that it
#: attached itself it could not open again without CAP_SYS_ADMIN.
_open_maps: dict[int, Maps] = {}


def known(number: int) -> Maps | LocalityError:
    """The maps of a program by its id, or why they cannot be had."""
    if number not in _open_maps:
        try:
            _open_maps[number] = Maps.of_program(number)
        except LocalityError as refusal:
            return refusal
    return _open_maps[number]


def remember(number: int, maps: Maps) -> None:
    """Keep the maps of a program that this process has loaded."""
    _open_maps[number] = maps


def forget(*numbers: int) -> None:
    """Close the maps of programs, which live as long as we have them open."""
    for number in _open_maps.keys() & {*numbers}:
        _open_maps.pop(number).close()


def remembered() -> frozenset[int]:
    """The ids of the programs whose maps are open."""
    return frozenset(_open_maps)


def _fit(infos: Mapping[str, MapInfo]) -> bool:
    """Whether maps have the types and sizes of this version's."""
    if infos.keys() != {*ARRAYS, SOCKETS}:
        return False
    cpus, capacity = (int(infos[name].max_entries) for name in ("spill_routes", SOCKETS))
    entries = {
        "spill_routes": cpus,
        "spill_counters": cpus,
        "spill_order": cpus * capacity,
        "spill_workers": cpus * (capacity + 1),
        "spill_seen": capacity,
    }
    arrays = all(
        (info := infos[name]).type == _ARRAY
        and (info.value_size, info.max_entries) == (ARRAYS[name].itemsize, count)
        for name, count in entries.items()
    )
    sockets = infos[SOCKETS]
    return arrays and (sockets.type, sockets.value_size) == (_SOCKARRAY, _COOKIE_BYTES)


def _open(what: str, call: Callable[[int], Any], number: int) -> int:
    fd = int(call(number))
    if fd < 0:
        code = ctypes.get_errno()
        raise_if_ours(code)
        if code == errno.EPERM:
            raise LocalityError("its table and counters can be seen by root, or with CAP_SYS_ADMIN")
        raise LocalityError(f"its {what} {number} cannot be opened: {os.strerror(code)}")
    return fd
