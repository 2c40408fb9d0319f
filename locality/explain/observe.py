"""Measure what a port accepts, and put each connection to its group and its cause."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.errors import LocalityError
from locality.explain.causes import Cause, Place, Share, Tally, attribute, shares
from locality.explain.remedies import Situation
from locality.machine import topology
from locality.reuseport.descriptors import socket_behind
from locality.reuseport.evidence import LOOK_S
from locality.reuseport.survey import find, of_one_server
from locality.skb.source import SkbSource
from locality.steering.incoming_cpu import require_effective
from locality.steering.verify import Counted, outcome, watching
from locality.text import share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.explain.causes import Attribution, Places
    from locality.machine.topology import Topology
    from locality.reuseport.evidence import Seen
    from locality.reuseport.survey import FoundGroup
    from locality.steering.verify import Outcome, Watch


@dataclass(frozen=True)
class Observation:
    """What was seen of a port.

    Attributes:
        seconds: For how long.
        groups: The port's groups.
        places: Its listening sockets there.
        attribution: The causes.
        shares: What each group accepted.
        consumed_local: Received packets of the whole machine consumed on their alloc CPU, in
            percent; None where this kernel does not let us see it.
        counted: The accepts, over time.
    """

    seconds: float
    groups: list[FoundGroup]
    places: Places
    attribution: Attribution
    shares: list[Share]
    consumed_local: float | None
    counted: Counted

    def since(self, earlier: Observation) -> Outcome:
        """What a change between two observations did."""
        return outcome(earlier.counted, self.counted)


@dataclass(frozen=True)
class Observer:
    """A port that is watched."""

    port: int
    netns: int | None
    machine: Topology
    watch: Watch
    packets: SkbSource | None

    def observe(self, seconds: float) -> Observation:
        """Watch for so many seconds.

        Raises:
            LocalityError: Nothing was accepted, or the groups changed meanwhile.
            KeyboardInterrupt: A signal asked to end.
        """
        before, tally = groups_on(self.port, self.netns), Tally()
        counted = Counted(self.machine)
        if self.packets:
            self.packets.read()
        self.watch.hand_to([tally, counted], seconds)
        packets = self.packets.read().rx if self.packets else None
        groups = groups_on(self.port, self.netns, self.watch.seen, LOOK_S)
        if [_fixed(one) for one in before] != [_fixed(one) for one in groups]:
            raise LocalityError("the port's groups changed while it was measured: measure again")
        if not tally.total:
            raise LocalityError(
                f"nothing was accepted on port {self.port} in {seconds:g} s: measure under load"
            )
        places = _places(groups, tally)
        return Observation(
            seconds,
            groups,
            places,
            attribute(tally, places),
            shares(tally, places),
            share(packets.local, packets.known) if packets else None,
            counted,
        )

    def situation(self, seen: Observation) -> Situation:
        """What remedies are made from."""
        where = f"--port {self.port}" + (f" --netns {self.netns}" if self.netns else "")
        spreading: tuple[FileChange, ...] = ()
        if Cause.SYN_ELSEWHERE in seen.attribution.causes:
            spreading = _spreading({one.netns for one in seen.groups})
        return Situation(seen.attribution, seen.shares, self.machine, where, spreading)


@contextmanager
def observing(port: int, netns: int | None) -> Iterator[Observer]:
    """Attach the probes for the time of the block.

    Args:
        port: A TCP port with reuseport groups.
        netns: Inode of their network namespace; None where all are in one.

    Raises:
        LocalityError: No such group, or this kernel allows no probe of accepts.
    """
    (namespace,) = {one.netns for one in groups_on(port, netns)}
    machine = topology.read()
    with ExitStack() as stack:
        # Groups whose namespace may not be seen are rare; their accepts are all on that port.
        watch = stack.enter_context(watching(machine, [port], [namespace] if namespace else []))
        packets = None
        with suppress(LocalityError):  # one figure less
            packets = stack.enter_context(SkbSource())
        yield Observer(port, netns, machine, watch, packets)


def groups_on(
    port: int, netns: int | None, known: Seen | None = None, look: float = 0
) -> list[FoundGroup]:
    """The TCP groups on a port; see `survey.find`.

    Raises:
        LocalityError: There are none, or they are of several servers.
    """
    found = [one for one in find(ports=[port], known=known, look=look) if one.protocol == "tcp"]
    found = of_one_server([one for one in found if netns in {None, one.netns}])
    if any(member.incoming_cpu is not None for one in found for member in one.group.members):
        try:
            require_effective()
        except LocalityError:
            return [_unheeded(one) for one in found]
    return found


def _unheeded(one: FoundGroup) -> FoundGroup:
    """The group as a kernel sees it that does not choose by SO_INCOMING_CPU."""
    members = tuple(replace(member, incoming_cpu=None) for member in one.group.members)
    return replace(one, group=replace(one.group, members=members))


def _fixed(one: FoundGroup) -> tuple[object, ...]:
    """What must not change while a group is measured."""
    group = one.group
    inodes = [member.inode for member in group.members]
    return str(one), inodes, group.attached, group.program


def _spreading(namespaces: set[int | None]) -> tuple[FileChange, ...]:
    """RPS for the server's device, if it is in our namespace and there is only one to choose."""
    if namespaces != {Path("/proc/self/ns/net").stat().st_ino}:
        return ()
    from locality.doctor import check_steering, facts  # noqa: PLC0415 - half a second
    from locality.machine.ethtool import read_links  # noqa: PLC0415

    try:
        machine = facts.read(Path("/"), read_links())
    except (OSError, LocalityError):  # another namespace's /sys, no netlink
        return ()
    changes = [
        change
        for device in machine.devices
        if device.real or device.veth
        for finding in check_steering.rps(machine, device)
        for change in finding.changes
        if isinstance(change, FileChange) and change.new != "0"
    ]
    return tuple(changes) if len(changes) == 1 else ()


def _places(groups: list[FoundGroup], tally: Tally) -> Places:
    by_inode = {
        member.inode: Place(one, index)
        for one in groups
        for index, member in enumerate(one.group.members)
    }
    places = {}
    for pid, tid, fd in {(one.pid, one.tid, one.listen_fd) for one in tally.counts}:
        inode = socket_behind(pid, tid, fd)
        if inode is not None and inode in by_inode:
            places[tid, fd] = by_inode[inode]
    return places
