"""All rungs at once over the same packets: what each of them counts, and where they differ.

Packets of the whole machine are counted, so the machine has to be a guest that does nothing
else. A measurement during which the kernel skipped runs of a probe is made again; of the last
attempt the difference may be as large as what it says it lost.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, reduce
from itertools import product
from operator import add
from typing import TYPE_CHECKING

from locality.bpf import btf
from locality.errors import Unsupported
from locality.skb.source import RUNGS, SkbSource
from locality.text import share
from tests.live.helpers.networks import veth, virtio, virtio_nics
from tests.live.helpers.traffic import (
    CPUS,
    HERE,
    LOOPBACK,
    PATIENCE,
    ROUND_TRIPS,
    THERE,
    Network,
    flush_deferred,
    tcp_ping_pong,
    tcp_stream,
    udp_one_way,
    udp_ping_pong,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from locality.skb.interval import Flow, Interval

ATTEMPTS = 3
MESSAGES = 2 * ROUND_TRIPS
SIZE = 4 << 20  # bytes of a stream
QUIET = 0.1  # seconds without a packet

PACKETS_MAY_DIFFER = 0.001
POINTS_MAY_DIFFER = 0.1

PLACES = {"same CPU": (HERE, HERE), "cross CPU": (HERE, THERE)}
WORKLOADS: Mapping[str, Callable[[int, int, Network], object]] = {
    "TCP ping-pong": lambda server, client, network: tcp_ping_pong(
        server, client, ROUND_TRIPS, network=network
    ),
    "TCP stream": lambda server, client, network: tcp_stream(server, client, SIZE, network),
    "UDP ping-pong": lambda server, client, network: udp_ping_pong(
        server, client, ROUND_TRIPS, network=network
    ),
    "UDP one-way": lambda server, client, network: udp_one_way(server, client, MESSAGES, network),
}
CASES = list(product(("loopback", "veth", "virtio"), WORKLOADS, PLACES))


@dataclass(frozen=True)
class Seen:
    """One direction as one rung saw it; `local` in percent of the packets that are known."""

    packets: int
    unknown: int
    deferred: int | None
    local: float | None

    @classmethod
    def of(cls, flow: Flow) -> Seen:
        return cls(flow.packets, flow.unknown, flow.deferred, share(flow.local, flow.known))

    def locals(self) -> tuple[float, float]:
        """Between which two percentages it is, the unknown ones being one or the other."""
        if not self.packets:
            return 0, 100
        known = (self.local or 0) * (self.packets - self.unknown) / self.packets
        return known, known + 100 * self.unknown / self.packets


@dataclass(frozen=True)
class View:
    """What one rung saw of a workload; `lost` are the runs of its probes skipped meanwhile."""

    rx: Seen
    tx: Seen
    lost: int


@dataclass(frozen=True)
class Difference:
    """Where a rung says something else than the best one.

    Attributes:
        rung: The other one.
        what: Which figure, and both values.
        why: The limitation that explains it; empty: none does.
    """

    rung: str
    what: str
    why: str


@contextmanager
def all_rungs() -> Iterator[dict[str, SkbSource]]:
    """Every rung that this kernel offers, best first, attached at once."""
    with ExitStack() as stack:
        sources = {}
        for rung in RUNGS:
            try:
                sources[rung.name] = stack.enter_context(SkbSource(rung=rung.name))
            except Unsupported:
                continue
        yield sources


@contextmanager
def networks() -> Iterator[dict[str, Network]]:
    """Every network that there is here, by name."""
    with ExitStack() as stack:
        found = [LOOPBACK, stack.enter_context(veth())]
        if virtio_nics():
            found.append(stack.enter_context(virtio()))
        yield {network.name: network for network in found}


def compare(
    sources: Mapping[str, SkbSource], network: Network, workload: str, place: str
) -> dict[str, View]:
    """Run a workload, then `flush_deferred`, under all rungs.

    Args:
        sources: As `all_rungs` gives them.
        network: Between which ends.
        workload: A key of `WORKLOADS`.
        place: A key of `PLACES`.
    """
    for _ in range(ATTEMPTS):
        _until_quiet(sources)
        lost = {name: source.read().lost for name, source in sources.items()}
        WORKLOADS[workload](*PLACES[place], network)
        flush_deferred()
        intervals = _until_quiet(sources)
        views = {
            name: View(Seen.of(one.rx), Seen.of(one.tx), one.lost - lost[name])
            for name, one in intervals.items()
        }
        # What a rung does not see it does not see again; what was chance does not come back.
        explained = all(one.why for one in differences(workload, views))
        if explained and not any(view.lost for view in views.values()):
            break
    return views


def _until_quiet(sources: Mapping[str, SkbSource]) -> dict[str, Interval]:
    """Read until no rung has seen a packet for a moment; return all that was read, as one."""
    intervals: dict[str, list[Interval]] = {name: [] for name in sources}
    deadline = time.monotonic() + PATIENCE / 10
    packets = 1
    while packets and time.monotonic() < deadline:
        time.sleep(QUIET)
        packets = 0
        for name, source in sources.items():
            one = source.read()
            intervals[name].append(one)
            packets += one.rx.packets + one.tx.packets
    return {name: reduce(add, read) for name, read in intervals.items()}


def expected(network: str, workload: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """How many packets are received and sent, at least and at most.

    A connection adds its handshake, its end and now and then a bare ACK; what a stream is cut
    into is TCP's business. Over loopback and veth a packet without an original is received only.
    """
    messages = MESSAGES + len(CPUS)
    over_wire = network == "virtio"
    if workload.startswith("UDP"):
        sent = MESSAGES if over_wire else 0
        return (messages, messages), (sent, sent)
    if workload == "TCP stream":
        least = SIZE // 65_536 // 2
        return (least // 17, SIZE), (least, SIZE)
    return (messages, int(1.03 * messages)), (MESSAGES, int(1.03 * MESSAGES))


@cache
def misses_are_told() -> bool:
    """Whether the kernel reports missed kprobe hits (`missed` in bpf_link_info, Linux 6.7)."""
    kernel = btf.kernel()

    def somewhere(type_id: int) -> bool:
        inner = kernel.resolve(type_id)
        return inner.kind in {btf.Kind.STRUCT, btf.Kind.UNION} and any(
            member.name == "missed" or somewhere(member.type_id) for member in kernel.members(inner)
        )

    found = kernel.find("bpf_link_info", btf.Kind.STRUCT)
    return found is not None and somewhere(found)


def differences(workload: str, views: Mapping[str, View]) -> list[Difference]:
    """Where the other rungs differ from the best one by more than the tolerance."""
    best, *others = views
    found = []
    for rung, direction in product(others, ("rx", "tx")):
        one, other = (getattr(views[name], direction) for name in (best, rung))
        missing = one.packets - other.packets
        why = ""
        if abs(missing) > PACKETS_MAY_DIFFER * one.packets:
            fewer = rung if missing > 0 else best
            why = _why_missing(fewer, abs(missing), views[fewer].lost)
            if not why and fewer == "raw-tracepoint":
                why = _fins(workload, missing) if direction == "rx" else _full(one, other)
            what = f"{direction.upper()} {other.packets:,} instead of {one.packets:,}"
            found.append(Difference(rung, what, why))
        if not _meet(one.locals(), other.locals()):
            shares = f"{other.local or 0:.2f} % instead of {one.local or 0:.2f} %"
            what = f"{direction.upper()} local {shares}"
            found.append(Difference(rung, what, why))
    return found


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two ranges of percentages come closer than the tolerance."""
    return one[0] <= other[1] + POINTS_MAY_DIFFER and other[0] <= one[1] + POINTS_MAY_DIFFER


def _why_missing(rung: str, missing: int, lost: int) -> str:
    if missing <= lost:
        return f"{rung} reports {lost} lost run{'' if lost == 1 else 's'}"
    if rung == "kprobe" and not misses_are_told():
        return "missed kprobe hits, which this kernel does not report"
    return ""


def _full(one: Seen, other: Seen) -> str:
    """Drivers' completions are deferred here, and both rungs saw as many that were."""
    if one.deferred and one.deferred == other.deferred:
        return "completions that found the deferred list full: the kernel frees these unseen"
    return ""


def _fins(workload: str, missing: int) -> str:
    """Each end of the one connection sends a FIN."""
    if workload.startswith("TCP") and missing <= 2:
        return "FINs without data: one or two in a connection"
    return ""
