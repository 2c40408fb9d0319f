"""Settings and groups of the machine, which are read again each minute, in a thread of their own.

They are not read when metrics are asked for: that takes long on a machine with many processes.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.doctor.checklist import CODES
from locality.doctor.findings import Level
from locality.doctor.running import diagnosis_of, look_at_this_machine
from locality.exporter import metrics
from locality.exporter.changes import CAUSES, Look, changes
from locality.exporter.failures import Failures
from locality.udp.balance import effective_sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from locality.arrays import Array
    from locality.exporter.measures import Accepts, Reads
    from locality.exporter.metrics import PortLabels
    from locality.reuseport.survey import FoundGroup

PERIOD_S = 60.0
#: Values of the label ``severity``.
SEVERITIES = {Level.COSTS: "costs", Level.MAY: "may"}
#: So many changes of one look are logged; all are counted.
_LOGGED = 20
#: What is tried each time, in the words of the log.
_LOOK = "settings and groups are not read"


@dataclass(frozen=True)
class _Seen:
    """What the last look gave; by port, where it is of ports."""

    time: float = 0.0
    findings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sockets: Mapping[int, int] = field(default_factory=dict)
    effective: Mapping[int, float] = field(default_factory=dict)
    attainable: Mapping[int, float] = field(default_factory=dict)


class MachineState:
    """The state, and how often it changed.

    Args:
        lock: Held by who reads the counters.
        accepts: Tells on which CPUs connections are received; None if that is not measured.
        reads: Tells who reads.
        tell: Takes a line for the log.
        netns: The network namespace whose sockets are measured; None for all.
    """

    def __init__(
        self,
        lock: threading.Lock,
        accepts: Accepts | None,
        reads: Reads | None,
        tell: Callable[[str], None],
        netns: int | None = None,
    ) -> None:
        self._lock = lock
        self._accepts = accepts
        self._reads = reads
        self._tell = tell
        self._failures = Failures(tell)
        self._netns = netns
        self._seen = _Seen()
        self._look: Look | None = None
        self._changes: Counter[tuple[str, str]] = Counter()
        self._received: dict[int, Array] = {}
        if reads is not None:
            reads.threads()

    def watch(self, settled: Callable[[], None], ended: threading.Event) -> None:
        """Look again and again, in a thread of its own.

        Args:
            settled: Called first by that thread.
            ended: Set when it is to end.
        """

        def look() -> None:
            if not self._failures.survive(_LOOK, settled):
                return  # with more privileges it does not go on
            while not ended.is_set():
                self.refresh()
                ended.wait(PERIOD_S)

        threading.Thread(target=look, name="state", daemon=True).start()

    def refresh(self) -> None:
        """Look now. What fails is told once, and the metrics stay as they were."""
        self._failures.survive(_LOOK, self._refresh)

    def _refresh(self) -> None:
        machine, groups = look_at_this_machine()
        findings = Counter(
            (finding.code, SEVERITIES[finding.level])
            for finding in diagnosis_of(machine, groups).bad
        )
        self._note_changes(Look.at(machine, groups))
        by_port: dict[int, list[FoundGroup]] = defaultdict(list)
        for group in groups:
            if group.shares and self._netns in {None, group.netns}:
                by_port[group.port].append(group)
        self._seen = _Seen(
            time.time(),
            findings,
            {port: sum(len(one.group.members) for one in some) for port, some in by_port.items()},
            self._effective(by_port),
            self._attainable(by_port),
        )

    def _note_changes(self, look: Look) -> None:
        before = self._look
        if before is None:
            self._look = look
            return
        self._look = look.keeping(before)
        found = [*changes(before, look)]
        self._changes.update((change.kind, change.cause) for change in found)
        for change in found[:_LOGGED]:
            self._tell(f"changed: {change}")
        if len(found) > _LOGGED:
            self._tell(f"changed: {len(found) - _LOGGED} more settings")

    def _effective(self, by_port: Mapping[int, Iterable[FoundGroup]]) -> dict[int, float]:
        if self._reads is None:
            return {}
        with self._lock:
            self._reads.read()
            threads = self._reads.threads()
        found = {port: self._seen.effective.get(port) for port in by_port}
        for port in by_port.keys() & threads.keys():
            found[port] = effective_sockets(np.array([*threads[port].values()]))
        return {port: value for port, value in found.items() if value is not None}

    def _attainable(self, by_port: Mapping[int, Iterable[FoundGroup]]) -> dict[int, float]:
        if self._accepts is None:
            return {}
        with self._lock:
            self._accepts.read()
            counted = self._accepts.counted
        found = {}
        for port, received in zip(counted.ports.tolist(), counted.received, strict=True):
            grown = received - self._received.get(port, np.zeros_like(received))
            self._received[port] = received
            workers = workers_of([*by_port.get(port, ())])
            if workers is None:
                continue
            share = attainable(grown, workers)
            if share is None and port in by_port:
                share = self._seen.attainable.get(port)
            if share is not None:
                found[port] = share
        return found

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        """See `locality.exporter.collect.Part`."""
        seen = self._seen
        if not seen.time:
            return
        looked = metrics.LOOKED.gauge()
        looked.add_metric([], seen.time)
        yield looked
        findings = metrics.FINDINGS.gauge()
        for code in CODES:
            for severity in SEVERITIES.values():
                findings.add_metric([code, severity], seen.findings.get((code, severity), 0))
        yield findings
        noted = metrics.CHANGES.counter()
        for kind, causes in CAUSES.items():
            for cause in causes:
                noted.add_metric([kind, cause], self._changes[kind, cause])
        yield noted
        for definition, values in (
            (metrics.SOCKETS, seen.sockets),
            (metrics.EFFECTIVE, seen.effective),
            (metrics.ATTAINABLE, seen.attainable),
        ):
            family = definition.gauge()
            for port, value in sorted(values.items()):
                if (label := ports.label(port)) != metrics.OTHER:
                    family.add_metric([label], value)
            if family.samples:
                yield family


def workers_of(groups: Sequence[FoundGroup]) -> list[frozenset[int]] | None:
    """The CPUs that the workers of each socket of a port may run on; of those that are known.

    Returns:
        None for groups of several network namespaces: accepts are counted by port, so it is not
        known whose workers could have had them.
    """
    if len({one.netns for one in groups}) > 1:
        return None
    return [member.cpus for one in groups for member in one.group.members if member.cpus]


def attainable(received: Array, workers: Iterable[frozenset[int]]) -> float | None:
    """The share that would be local if each CPU's connections went to the nearest worker.

    A worker that may run on several CPUs is on each of them for its part of the time.

    Args:
        received: (CPUs,) connections by RX CPU.
        workers: The CPUs that the workers of each socket may run on; of those that are known.

    Returns:
        None if nothing was received, or no worker is known.
    """
    total = int(received.sum())
    if not total:
        return None
    best: dict[int, float] = {}
    for cpus in workers:
        for cpu in cpus:
            best[cpu] = max(best.get(cpu, 0.0), 1 / len(cpus))
    if not best:
        return None
    counts: list[int] = received.tolist()
    return sum(best.get(cpu, 0.0) * count for cpu, count in enumerate(counts)) / total
