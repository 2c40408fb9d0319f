"""Give a TCP group the spill program, or change the table of the one that it has.

The program is attached through a duplicate of one of the group's sockets, like a classic one. To
choose sockets it needs them in a map, so each of them is duplicated for a moment too. A socket can
be in one such map only: where the group has a spill program already, its maps are written anew, and
what it has counted is kept.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from locality.attach_cbpf import REFUSED, detach
from locality.bpf.btf import check_layout
from locality.bpf.object import Object
from locality.errors import LocalityError, Unsupported
from locality.machine import topology
from locality.machine.capabilities import missing_for_probes
from locality.reuseport.borrow import Call, borrowed_socket
from locality.reuseport.descriptors import descriptors
from locality.reuseport.group import read_sockets
from locality.spill.maps import LAYOUTS, PROGRAM, SOCKETS, Maps, forget, known, remember, remembered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from locality.reuseport.descriptors import Holder
    from locality.reuseport.group import Group
    from locality.spill.table import Table

SO_ATTACH_REUSEPORT_EBPF = 52  # asm-generic/socket.h, as the next one
SO_COOKIE = 57
_COOKIE_BYTES = 8

FEWEST_PLACES = 64
"""Room for sockets; twice as many as there are, if that is more: a server may reload to more."""
PATIENCE_S = 8.0
"""How long the maps of a program may take to go that was detached, and whose maps we may not open:
seconds, where the kernel is busy."""
_POLL_S = 0.005

_ATTACH = Call("setsockopt({pid}:{fd}, SO_ATTACH_REUSEPORT_EBPF)", REFUSED)


@dataclass(frozen=True, slots=True)
class Given:
    """What became of a table.

    Attributes:
        number: The id of the program that has it.
        replaced: Whether the program was there before, and has only got another table.
        left_out: Sockets that could not be put into the map, by inode, and why: only the hash
            chooses them.
    """

    number: int
    replaced: bool
    left_out: Mapping[int, str]


def require() -> None:
    """Try whether this kernel takes the program; nothing is attached.

    Raises:
        Unsupported: It does not; says what it answered, or which capabilities are missing.
    """
    _load(1).close()


def give(pid: int, fd: int, table: Table, among: Collection[int] = ()) -> Given:
    """Let a group choose by a table: by a new program, or by the spill program that it has.

    Args:
        pid: A process that holds a socket of the group.
        fd: The socket's number there.
        table: For this group. Sockets that have left it since are left out.
        among: The inodes of the sockets that were looked at before; any socket if empty.

    Raises:
        Unsupported: The kernel does not take the program.
        LocalityError: A socket could not be reached, or the kernel refused to attach; the group
            has the program that it had, or none.
    """
    group = read_sockets(pid, fd, among)
    if not group.order_known:
        raise LocalityError(f"the sockets of the group are not known ({group.how})")
    inodes = [member.inode for member in group.members if member.inode]
    if group.spill is not None:
        maps = known(group.spill.number)
        if isinstance(maps, Maps) and maps.capacity >= len(inodes):
            left_out = _write(maps, group, inodes, table)
            return Given(group.spill.number, True, left_out)
    with _load(len(inodes)) as obj:  # before its program is taken away: it may be refused
        if group.spill is not None:
            detach(pid, fd, inodes)
        _release({member.cookie for member in group.members})
        maps = Maps.of_object(obj)
        try:
            left_out = _write(maps, group, inodes, table, patient=True)
            option = struct.pack("@i", obj.program_fd(PROGRAM))
            with borrowed_socket(pid, fd, inodes) as borrowed, _ATTACH.explained(pid, fd):
                borrowed.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, option)
        except BaseException:
            maps.close()
            raise
        number = obj.info(PROGRAM).id
    remember(number, maps)
    return Given(number, False, left_out)


def release(pid: int, fd: int, among: Collection[int] = ()) -> None:
    """Let go of a group's sockets after its program was detached or replaced by another one.

    Args:
        pid: A process that holds a socket of the group.
        fd: The socket's number there.
        among: The inodes of the sockets that were looked at before; any socket if empty.
    """
    if not remembered():
        return
    with suppress(LocalityError):  # the group has gone meanwhile, and its sockets with it
        group = read_sockets(pid, fd, among)
        if group.spill is None:
            _release({member.cookie for member in group.members})


def _release(cookies: frozenset[int] | set[int]) -> None:
    """Empty and close the maps that have these sockets: they can be in no other map."""
    for number in remembered():
        maps = known(number)
        if isinstance(maps, Maps) and not maps.cookies().keys().isdisjoint(cookies - {0}):
            maps.release()
            forget(number)


def _load(sockets: int) -> Object:
    """The program and its maps, with room for so many sockets, attached to nothing."""
    capacity = max(FEWEST_PLACES, 2 * sockets)
    cpus = topology.possible_cpus()
    obj = Object.open("spill", {"capacity": capacity})
    try:
        for name, layout in LAYOUTS.items():
            check_layout(layout, obj.btf.struct(name), name)
        for name, entries in {
            "spill_routes": cpus,
            "spill_counters": cpus,
            "spill_order": cpus * capacity,
            "spill_workers": cpus * (capacity + 1),
            "spill_seen": capacity,
            SOCKETS: capacity,
        }.items():
            obj.resize(name, entries)
        obj.load()
    except Unsupported:
        obj.close()
        if missing := missing_for_probes():
            raise Unsupported(
                f"the program that spills needs CAP_BPF and CAP_PERFMON, and this process has no "
                f"{' and no '.join(missing)}: run it as root"
            ) from None
        raise
    except BaseException:
        obj.close()
        raise
    return obj


# --- the maps ------------------------------------------------------------------------------


def _write(
    maps: Maps, group: Group, inodes: Sequence[int], table: Table, *, patient: bool = False
) -> dict[int, str]:
    """Put the group's sockets into the map, and then the table; see `Given.left_out`.

    Args:
        maps: Of the program.
        group: As it is now.
        inodes: Its sockets.
        table: What to write.
        patient: Whether a socket may still be in the map of a program that was detached just now.
    """
    cookies = {member.cookie: member.inode for member in group.members if member.cookie}
    places = {
        cookies[cookie]: place for cookie, place in maps.cookies().items() if cookie in cookies
    }
    missing = [inode for inode in inodes if inode not in places]
    left_out: dict[int, str] = {}
    if missing:
        holders = descriptors().holders
        free = _free_places(maps, places.values())
        deadline = time.monotonic() + (PATIENCE_S if patient else 0)
        for inode in missing:
            try:
                place = next(free)
                _enter(maps, place, inode, holders.get(inode, ()), deadline)
                places[inode] = place
            except LocalityError as refusal:
                left_out[inode] = str(refusal)
    if not places:
        raise LocalityError(f"no socket of the group could be reached: {left_out[missing[0]]}")
    _write_table(maps, table, places)
    return left_out


def _free_places(maps: Maps, taken: Collection[int]) -> Iterator[int]:
    """Places without a socket; first those in which nothing was ever counted."""
    counted = maps.workers["kept"].sum(axis=0) + maps.workers["spilled"].sum(axis=0)
    empty = [place for place in range(maps.capacity) if place not in taken]
    yield from sorted(empty, key=lambda place: (bool(counted[place]), place))


def _enter(maps: Maps, place: int, inode: int, holders: Sequence[Holder], deadline: float) -> None:
    """Put one socket into the map, through the first process that lets us duplicate it."""
    refusal = LocalityError(f"socket {inode} cannot be duplicated (pidfd_getfd): run as root")
    for holder in holders:
        try:
            while True:
                with borrowed_socket(holder.tid, holder.fd, (inode,)) as borrowed:
                    # The kernel makes it when it is first asked for, and we know sockets by it.
                    borrowed.getsockopt(socket.SOL_SOCKET, SO_COOKIE, _COOKIE_BYTES)
                    code = _try_to_enter(maps, place, borrowed.fileno())
                if code != errno.EBUSY or time.monotonic() > deadline:
                    break
                time.sleep(_POLL_S)
        except LocalityError as error:
            refusal = error
            continue
        if not code:
            return
        refusal = LocalityError(_REFUSED.get(code, os.strerror(code)).format(inode=inode))
    raise refusal


_REFUSED = {
    errno.EBUSY: "socket {inode} is in the socket map of another eBPF program",
    errno.EINVAL: "socket {inode} has left the group",
}


def _try_to_enter(maps: Maps, place: int, fd: int) -> int:
    """Put a socket of this process into the map; 0, or the kernel's errno."""
    try:
        maps.enter(place, fd)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _write_table(maps: Maps, table: Table, places: Mapping[int, int]) -> None:
    """Write a table while the program may run: what it meets half-way is no worse than the hash."""
    routes = np.zeros_like(maps.routes)
    order = np.zeros_like(maps.order)
    for number, cpu in enumerate(table.cpus):
        row = [
            (places[inode], distance)
            for inode, distance in zip(
                table.sockets[number].tolist(), table.distances[number].tolist(), strict=True
            )
            if inode in places
        ]
        if not row or int(table.sockets[number, 0]) not in places or cpu >= len(routes):
            continue  # hashed
        order["place"][cpu, : len(row)], order["distance"][cpu, : len(row)] = zip(*row, strict=True)
        others = np.array([distance for _, distance in row[1:]], np.int64)
        route = routes[cpu]
        route["bound"], route["workers"] = table.bound, len(row)
        route["known"] = len(places)
        route["ends"] = 1 + np.searchsorted(others, np.arange(len(route["ends"])), side="right")
    maps.order[:] = order
    maps.routes[:] = routes
    maps.forget_addresses()
