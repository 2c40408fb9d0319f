"""Measure what a port accepts or reads, and put each to its group and its cause."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from locality.changes.kernel import FileChange
from locality.errors import LocalityError
from locality.explain.causes import Cause, Place, Share, Tally, attribute, shares
from locality.explain.hand_off import Connections, HandOff, hand_off
from locality.explain.remedies import Situation
from locality.filter import Wanted
from locality.machine import topology
from locality.machine.namespaces import own_network_namespace
from locality.reads.tcp import TcpReads
from locality.reuseport.descriptors import socket_behind
from locality.reuseport.evidence import LOOK_S
from locality.reuseport.one_server import of_one_namespace
from locality.reuseport.servers import UNKNOWN, Server, moves_between_threads, server_of
from locality.reuseport.survey import find
from locality.reuseport.unserved import nothing_serves
from locality.skb.source import SkbSource
from locality.steering import attachment
from locality.steering.count import ACCEPTS, READS, Counted, Measured
from locality.steering.incoming_effect import as_this_kernel_selects
from locality.steering.verify import outcome
from locality.steering.watch import Within, watching
from locality.text import share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.explain.causes import Attribution, Places
    from locality.machine.topology import Topology
    from locality.reuseport.evidence import Seen
    from locality.reuseport.survey import FoundGroup
    from locality.spill.attached import Counted as Answers
    from locality.steering.count import Handled
    from locality.steering.verify import Outcome
    from locality.steering.watch import Watch
    from locality.stream import Sink


GLANCE_S = 0.2
"""How long to look which protocol of a port is the busier one."""


@dataclass(frozen=True)
class Observation:
    """What was seen of a port.

    Attributes:
        seconds: For how long.
        groups: The port's groups, and its sockets without SO_REUSEPORT.
        places: Its sockets there.
        attribution: The causes.
        shares: What each group accepted, or read.
        consumed_local: Received packets of the whole machine consumed on their alloc CPU, in
            percent; None where this kernel does not let us see it.
        counted: The accepts, or reads, over time, and which of them it was.
        hand_off: Who reads what was accepted; None where that is not seen.
        server: What the server calls its settings.
        spilled: What programs that spill answered in this time, by group.
    """

    seconds: float
    groups: list[FoundGroup]
    places: Places
    attribution: Attribution
    shares: list[Share]
    consumed_local: float | None
    counted: Counted
    hand_off: HandOff | None = None
    server: Server = UNKNOWN
    spilled: Mapping[str, Answers] = field(default_factory=dict)

    @property
    def measured(self) -> Measured:
        """What was counted."""
        return self.counted.measured

    @property
    def is_handed_off(self) -> bool:
        """Whether where connections are accepted says nothing of where they are served."""
        return self.hand_off is not None and self.hand_off.is_usual

    def since(self, earlier: Observation) -> Outcome:
        """What a change between two observations did."""
        return outcome(earlier.counted, self.counted)


@dataclass(frozen=True)
class Observer:
    """A port that is watched."""

    port: int
    netns: int | None
    protocol: str
    machine: Topology
    watch: Watch
    reads: TcpReads | None
    packets: SkbSource | None

    def observe(self, seconds: float) -> Observation:
        """Watch for so many seconds.

        Raises:
            LocalityError: Nothing was accepted or read, or the groups changed meanwhile.
            KeyboardInterrupt: A signal asked to end.
        """
        before = listeners_on(self.port, self.netns, self.protocol)
        seen, read = self._sums(self.watch.measured), self._sums(READS)
        accepts, connections = Connections(), Connections()
        sinks: list[Sink[Handled]] = [*seen, accepts]
        if self.protocol == "udp":
            sinks.pop()
        beside = self._beside([*read, connections])
        if self.packets:
            self.packets.read()
        self.watch.hand_to([*sinks, *beside], seconds)
        packets = self.packets.read().rx if self.packets else None
        groups = listeners_on(self.port, self.netns, self.protocol, self.watch.seen, LOOK_S)
        if [_fixed(one) for one in before] != [_fixed(one) for one in groups]:
            raise LocalityError("the port's groups changed while it was measured: measure again")
        tally, counted = seen
        if not tally.total:
            tally, counted = read
        if not tally.total:
            what = "read" if self.protocol == "udp" else "accepted or read"
            raise LocalityError(
                f"nothing was {what} on port {self.port} in {seconds:g} s: measure under load"
            )
        server = server_of(tally.counts.most_common(1)[0][0].pid)
        places = _places(groups, tally)
        return Observation(
            seconds,
            groups,
            places,
            attribute(tally, places),
            shares(tally, places),
            share(packets.local, packets.known) if packets else None,
            counted,
            hand_off(accepts, connections) if beside else None,
            server,
            _spilled(before, groups),
        )

    def _sums(self, measured: Measured) -> tuple[Tally, Counted]:
        return Tally(measured=measured), Counted(self.machine, measured)

    def _beside(self, sinks: Sequence[Sink[Handled]]) -> list[_Beside]:
        if self.reads is None:
            return []
        lost = self.reads.read().lost
        within = [Within(self.watch.namespaces, lost, sink) for sink in sinks]
        return [_Beside(self.reads, within)]

    def situation(self, seen: Observation) -> Situation:
        """What remedies are made from."""
        where = f"--port {self.port}" + (f" --netns {self.netns}" if self.netns else "")
        if len({one.protocol for one in find(ports=[self.port])}) > 1:
            where += f" --proto {self.protocol}"
        spreading: tuple[FileChange, ...] = ()
        if Cause.SYN_ELSEWHERE in seen.attribution.causes:
            spreading = _spreading({one.netns for one in seen.groups})
        return Situation(seen.attribution, seen.shares, self.machine, where, spreading, seen.server)


@dataclass(frozen=True)
class _Beside:
    """A sink of one source that hands on what a second one has: both are read by turns."""

    source: TcpReads
    sinks: Sequence[Sink[Handled]]

    def write(self, _batch: Handled) -> None:
        batch = self.source.read()
        for sink in self.sinks:
            sink.write(batch)


@contextmanager
def observing(port: int, netns: int | None, protocol: str | None = None) -> Iterator[Observer]:
    """Attach the probes for the time of the block.

    Args:
        port: A TCP or UDP port.
        netns: Inode of its network namespace; None where all of it is in one.
        protocol: tcp or udp; None for the one that the port has, or the busier one.

    Raises:
        LocalityError: No such socket, or this kernel allows no probe of what is done on it.
    """
    protocol = protocol or _protocol_of(port, netns)
    (namespace,) = {one.netns for one in listeners_on(port, netns, protocol)}
    machine = topology.read()
    with ExitStack() as stack:
        # Groups whose namespace may not be seen are rare; their accepts are all on that port.
        within = [namespace] if namespace else []
        watch = stack.enter_context(watching(machine, [port], within, protocol))
        reads = packets = None
        with suppress(LocalityError):  # one figure less
            packets = stack.enter_context(SkbSource())
        if watch.measured is ACCEPTS:
            with suppress(LocalityError):  # it is not said who reads
                reads = stack.enter_context(TcpReads(Wanted(ports=(port,))))
        yield Observer(port, netns, protocol, machine, watch, reads, packets)


def _protocol_of(port: int, netns: int | None) -> str:
    """The protocol of a port; the busier one where it has sockets of both."""
    found = {one.protocol for one in find(ports=[port], alone=True) if netns in {None, one.netns}}
    if found != {"tcp", "udp"}:
        return "udp" if found == {"udp"} else "tcp"
    machine, namespaces = topology.read(), [netns] if netns else []
    seen = {}
    for protocol in ("tcp", "udp"):
        with watching(machine, [port], namespaces, protocol) as watch:
            seen[protocol] = watch.count(GLANCE_S).total
    return "udp" if seen["udp"] > seen["tcp"] else "tcp"


def listeners_on(
    port: int, netns: int | None, protocol: str, known: Seen | None = None, look: float = 0
) -> list[FoundGroup]:
    """The groups on a port, and its sockets without SO_REUSEPORT; see `survey.find`.

    Raises:
        LocalityError: There are none, or they are of several servers.
    """
    everything = [
        one
        for one in find(ports=[port], known=known, look=look, alone=True)
        if netns in {None, one.netns}
    ]
    found = [one for one in everything if one.protocol == protocol]
    if not found and any(one.protocol == "mptcp" for one in everything):
        raise LocalityError(
            f"port {port} has MPTCP listeners only, whose groups take no program: explain covers "
            "TCP and UDP; locality accept --port shows where their connections are accepted"
        )
    if not found:
        raise LocalityError(nothing_serves(port, [protocol], netns))
    of_one_namespace(found)
    return as_this_kernel_selects(found)


def _spilled(before: list[FoundGroup], after: list[FoundGroup]) -> dict[str, Answers]:
    """What programs that spill answered between two readings of the same groups."""
    found = {}
    for was, now in zip(before, after, strict=True):
        if was.group.spill is None or now.group.spill is None:
            continue
        earlier, later = was.group.spill.counted, now.group.spill.counted
        if earlier is not None and later is not None:
            found[str(now)] = later.since(earlier)
    return found


def _fixed(one: FoundGroup) -> tuple[object, ...]:
    """What must not change while a group is measured."""
    group = one.group
    inodes = [member.inode for member in group.members]
    return str(one), inodes, group.attached, group.ebpf, attachment.present(group)


def _spreading(namespaces: set[int | None]) -> tuple[FileChange, ...]:
    """RPS for the server's device, if it is in our namespace and there is only one to choose."""
    if namespaces != {own_network_namespace()}:
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
    """Where each that was counted happened."""
    by_inode: dict[int, Place] = {}
    by_thread: dict[int, Place] = {}
    for one in groups:
        for index, member in enumerate(one.group.members):
            moves = len(member.workers) > 1 and any(
                moves_between_threads(pid) for pid in {worker.pid for worker in member.workers}
            )
            place = by_inode[member.inode] = Place(one, index, moves)
            for worker in member.workers:
                by_thread.setdefault(worker.tid, place)
    places = {}
    for pid, tid, socket in {(one.pid, one.tid, one.socket) for one in tally.counts}:
        place_of = by_inode.get(socket)
        if tally.measured is ACCEPTS:
            place_of = by_inode.get(socket_behind(pid, tid, socket) or 0)
        elif tally.measured is READS:  # of a connection: of the listener that its thread serves
            place_of = by_thread.get(tid)
        if place_of is not None:
            places[tid, socket] = place_of
    return places
