"""Hash, map and spill under the same load, where one RX CPU receives more than the others.

The server's workers serve one connection at a time. A client makes connections at moments that do
not depend on the answers. How much each CPU receives is decided by source ports: the client first
learns on which CPU the connections of a port arrive, as RSS keeps a flow on one queue.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from locality import cbpf
from locality.accept.source import AcceptSource, Filter
from locality.errors import LocalityError
from locality.lab import programs
from locality.lab.experiment import rx_cpus
from locality.lab.namespaces import namespace
from locality.lab.network import SERVER_ADDRESS
from locality.lab.queue_load import LEAD_S, Answers, Orders, Skew, run_sender
from locality.lab.queue_server import PORT, run_server
from locality.lab.realtime import run_first
from locality.lab.udp_experiment import PACKAGES
from locality.lab.wires import lay_wire, require_taps
from locality.machine import topology
from locality.reuseport.group import read_sockets
from locality.spill import bound, table
from locality.steering import attachment
from locality.steering.count import Counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.accept.batch import AcceptBatch
    from locality.cbpf import Program
    from locality.lab.namespaces import Namespace
    from locality.lab.queue_server import QueueServer
    from locality.lab.wires import Wire
    from locality.machine.topology import Topology
    from locality.spill.attached import Counted as Answered
    from locality.spill.bound import Bound
    from locality.spill.table import Table

HASH, MAP, SPILL = STEERINGS = ("hash", "map", "spill")
FIRST_PORT, PORTS = 20_000, 1_500
"""Source ports to learn about: some hundred for each CPU."""
LEARN_RATE = 1_500.0
LEARN_S = 1.0
CALIBRATE_S = 3.0
CALIBRATE_LOAD = 0.3
"""Of what one worker is thought to take: enough to see how long it takes."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Figures:
    """What one turn of one steering showed.

    Attributes:
        steering: Of STEERINGS.
        bound: How many may wait before it spills; None for others.
        answers: What the client saw.
        accepted: Connections that were accepted, as the probe of accepts saw it.
        local: Those accepted on their RX CPU.
        lost: Records of accepts that were lost.
        overflows: Connections that found an accept queue full.
        busy: For each worker: the part of the time in which it worked.
        answered: What the program counted; None for others.
    """

    steering: str
    bound: int | None
    answers: Answers
    accepted: int
    local: int
    lost: int
    overflows: int
    busy: tuple[float, ...]
    answered: Answered | None = None

    def percentile(self, which: float) -> float | None:
        """Of the times, seconds; None of none."""
        times = self.answers.times
        return float(np.percentile(times, which)) if len(times) else None


@dataclass
class QueueLab:
    """Two namespaces, a wire, and a server.

    Attributes:
        cpus: RX CPUs; worker i runs on cpus[i].
        work: Microseconds that a connection asks of its worker.
        took: Seconds that a worker really needs for one; measured by `calibrate`.
    """

    server: Namespace
    client: Namespace
    cpus: tuple[int, ...]
    wire: Wire
    serving: QueueServer
    machine: Topology
    work: int
    accepts: AcceptSource
    took: float = 0.0

    def learn(self, shares: Sequence[float]) -> Skew:
        """Find source ports for each RX CPU.

        Args:
            shares: The part of all connections that each RX CPU is to receive.

        Raises:
            LocalityError: A CPU receives nothing of any port.
        """
        ports = range(FIRST_PORT, FIRST_PORT + PORTS)
        answers = self._send({self.cpus[0]: (LEARN_RATE, tuple(ports))}, LEARN_S, work=0)
        found = {cpu: tuple(answers.ports[answers.rx_cpus == cpu].tolist()) for cpu in self.cpus}
        if missing := [cpu for cpu, of_cpu in found.items() if not of_cpu]:
            raise LocalityError(
                f"nothing was received on CPUs {', '.join(map(str, missing))}: the wire "
                f"({self.wire.name}) does not spread connections over the CPUs"
            )
        return Skew(found, dict(zip(self.cpus, shares, strict=True)))

    def calibrate(self, skew: Skew) -> None:
        """Measure how long a worker needs for a connection.

        Raises:
            LocalityError: No connection was answered.
        """
        before = self.serving.rows.copy()
        even = replace(skew, shares=dict.fromkeys(self.cpus, 1 / len(self.cpus)))
        self.send(even, CALIBRATE_LOAD * len(self.cpus) / (self.work / 1e6), CALIBRATE_S)
        served, busy = (
            int((self.serving.rows[name] - before[name]).sum()) for name in ("served", "busy_ns")
        )
        if not served:
            raise LocalityError("the lab's server answered nothing")
        self.took = busy / served / 1e9

    def rate(self, skew: Skew, load: float) -> float:
        """Connections a second with which the busiest worker is so busy, if all are local.

        Args:
            skew: Who receives how much.
            load: 0 to 1, or more: then it cannot take all of them.
        """
        return load / self.took / skew.largest

    def send(self, skew: Skew, rate: float, seconds: float, seed: int = 0) -> Answers:
        """Make connections for so many seconds, and wait for the answers.

        Args:
            skew: Who receives how much.
            rate: Connections a second, of all CPUs.
            seconds: For how long.
            seed: With the same one, connections come at the same moments.
        """
        orders = {
            cpu: (rate * share, skew.ports[cpu]) for cpu, share in skew.shares.items() if share
        }
        return self._send(orders, seconds, self.work, seed)

    def _send(
        self,
        orders: Mapping[int, tuple[float, tuple[int, ...]]],
        seconds: float,
        work: int,
        seed: int = 0,
    ) -> Answers:
        begin = time.monotonic() + LEAD_S
        with ExitStack() as stack:
            senders = []
            for cpu, (rate, ports) in orders.items():
                # One sender's moments have nothing to do with another's.
                own = seed * len(self.cpus) + self.cpus.index(cpu)
                given = Orders(SERVER_ADDRESS, rate, seconds, work, ports, cpu, begin, own)
                senders.append(stack.enter_context(run_sender(self.client, given)))
            answers = [one.answers(LEAD_S + seconds + PATIENCE_S) for one in senders]
        self.serving.process.check()
        self.wire.check()
        return Answers.together(answers)

    def measure(
        self, skew: Skew, load: float, seconds: float, steering: Steering, seed: int
    ) -> Figures:
        """Steer the group, send, and count; see `send` for the seed."""
        steering.apply(self)
        overflows, rows = self._overflows(), self.serving.rows.copy()
        self.accepts.read()
        counted, lost = Counted(self.machine), self.accepts.read().lost
        answers = self.send(skew, self.rate(skew, load), seconds, seed)
        batch = self.accepts.read()
        counted.write(replace(self._ours(batch), lost=batch.lost - lost))
        busy = (self.serving.rows["busy_ns"] - rows["busy_ns"]) / 1e9 / seconds
        group = read_sockets(self.serving.pid, self._fd)
        return Figures(
            steering.name,
            steering.bound,
            answers,
            counted.total,
            counted.local,
            counted.lost,
            self._overflows() - overflows,
            tuple(busy.tolist()),
            group.spill.counted if group.spill else None,
        )

    def choose_bound(self, skew: Skew, load: float, seconds: float) -> Bound:
        """Choose a bound as `attach-cbpf --spill auto` does, while the hash chooses."""
        Steering(HASH).apply(self)
        self.accepts.read()
        counted = Counted(self.machine)
        self.send(skew, self.rate(skew, load), seconds)
        counted.write(self._ours(self.accepts.read()))
        group = read_sockets(self.serving.pid, self._fd)
        limits = [one.backlog_limit for one in group.members if one.backlog_limit is not None]
        own = {cpu: index for index, cpu in enumerate(self.cpus)}
        return bound.choose(counted.waits.arrivals, own, len(self.cpus), limits)

    def _ours(self, batch: AcceptBatch) -> AcceptBatch:
        """The accepts of the lab's server: others of this machine may have its port."""
        netns = Path(f"/proc/{self.server.pid}/ns/net").stat().st_ino
        return replace(batch, records=batch.records[batch.records["netns"] == netns])

    @property
    def _fd(self) -> int:
        return next(iter(self.serving.sockets()))

    def _overflows(self) -> int:
        """Connections that found an accept queue full, since the namespace was made."""
        lines = Path(f"/proc/{self.server.pid}/net/netstat").read_text(encoding="ascii")
        names, values = (line.split() for line in lines.splitlines() if line.startswith("TcpExt:"))
        return int(values[names.index("ListenOverflows")])

    def give(self, program: Program | Table | None) -> None:
        """Attach a program to the server's group; None takes away what is there."""
        pid, fd = self.serving.pid, self._fd
        group = read_sockets(pid, fd)
        if group.attached and (program is None or group.spill is not None):
            # A program that spills counts from anew.
            attachment.detach(pid, fd)
        if program is not None:
            attachment.attach(pid, fd, program)


@dataclass(frozen=True)
class Steering:
    """A way to choose the worker.

    Attributes:
        name: Of STEERINGS.
        bound: For SPILL.
    """

    name: str
    bound: int | None = None

    def apply(self, lab: QueueLab) -> None:
        """Steer the lab's group."""
        lab.give(self.program(lab))

    def program(self, lab: QueueLab) -> Program | Table | None:
        """What is to be attached; None for the hash."""
        if self.name == HASH:
            return None
        if self.bound is None:
            return cbpf.table({cpu: index for index, cpu in enumerate(lab.cpus)})
        inodes = list(lab.serving.sockets().values())
        own = dict(zip(lab.cpus, inodes, strict=True))
        workers = {inode: {cpu} for cpu, inode in own.items()}
        return table.make(self.bound, own, workers, lab.machine)


@contextmanager
def open_queue_lab(work_us: int, workers: int = 2) -> Iterator[QueueLab]:
    """Set the lab up; when the block ends, nothing of it is left.

    Args:
        work_us: Microseconds that a worker needs for a connection.
        workers: How many workers and RX CPUs.

    Raises:
        LocalityError: Not root, a program is missing, a command failed; no taps, no second CPU.
        Unsupported: This kernel allows no probe of accepts.
    """
    programs.require(PACKAGES)
    require_taps("only over them a port's connections arrive on one CPU, as this experiment needs")
    cpus = rx_cpus(os.sched_getaffinity(0), workers)
    with (
        namespace() as server,
        namespace() as client,
        lay_wire("tap", server, client, cpus) as laid,
        run_server(server, cpus) as serving,
        AcceptSource(Filter(ports=(PORT,))) as accepts,
    ):
        if laid.process is not None:
            run_first(laid.process.pid)
        yield QueueLab(server, client, cpus, laid, serving, topology.read(), work_us, accepts)


def run(  # noqa: PLR0917 - what an experiment is
    lab: QueueLab,
    skew: Skew,
    load: float,
    steerings: Sequence[Steering],
    seconds: float,
    rounds: int,
) -> Iterator[Figures]:
    """Measure each steering in turn, and all of them again in each round.

    In a round all steerings meet the same arrivals. Every other round goes backwards: a machine
    that becomes slower is nobody's advantage.

    Args:
        lab: Calibrated.
        skew: Who receives how much.
        load: How busy the busiest worker is if all connections are local; 0 to 1, or more.
        steerings: What to compare.
        seconds: For each in each round.
        rounds: How often.
    """
    orders = cycle([list(steerings), list(steerings)[::-1]])
    for number, order in zip(range(rounds), orders, strict=False):
        for steering in order:
            yield lab.measure(skew, load, seconds, steering, seed=1 + number)
