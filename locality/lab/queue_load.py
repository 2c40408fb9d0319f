"""Connections at moments that do not depend on the answers: an open loop of Poisson arrivals.

Run as a program (``python -m locality.lab.queue_load``), with what to do as JSON in its argument.
When a server is slow, a client that waits for an answer before it asks again asks less, and its
figures leave out what others would have waited (coordinated omission). Here each connection is due
at a moment that was drawn before; it is made then, or as soon after it as the client can, and its
time runs from the moment it was due until its answer is there.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import select
import socket
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from locality.errors import LocalityError
from locality.lab.programs import PYTHON
from locality.lab.queue_server import PORT, WORK
from locality.lab.realtime import run_first

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from locality.arrays import Array
    from locality.lab.namespaces import Namespace, Process

LEAD_S = 1.5
"""How long before it begins a sender is started: Python and numpy have to be read."""
DRAIN_S = 4.0
"""How long to wait for answers after the last connection was due."""
#: The last connection from this port is not over: the next one is taken.
_BUSY_PORT = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}
_LINGER_RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 s


@dataclass(frozen=True)
class Skew:
    """How the connections are shared out.

    Attributes:
        ports: For each RX CPU: source ports whose connections it receives.
        shares: The part of all connections for each RX CPU; they add up to 1.
    """

    ports: Mapping[int, tuple[int, ...]]
    shares: Mapping[int, float]

    @property
    def largest(self) -> float:
        """The part of the CPU that receives most."""
        return max(self.shares.values())


@dataclass(frozen=True)
class Orders:
    """What to do.

    Attributes:
        address: The server's.
        rate: Connections a second, on average.
        seconds: For how long.
        work: Microseconds of the worker's time that each asks for.
        ports: Source ports to use in turn.
        cpu: To run on.
        begin: When to begin, CLOCK_MONOTONIC, seconds.
        seed: Of the random moments.
    """

    address: str
    rate: float
    seconds: float
    work: int
    ports: Sequence[int]
    cpu: int
    begin: float
    seed: int


@dataclass(frozen=True)
class Answers:
    """What came of it.

    Attributes:
        times: Seconds from when each was due to its answer; of those that were answered.
        rx_cpus: The CPU that received each, as the server said.
        failed: How many were not answered, by the errno's name; TIMEOUT where none came.
        late: Seconds after it was due that each was begun: the client's own share.
        ports: The source port of each that was answered.
    """

    times: Array
    rx_cpus: Array
    failed: Counter[str] = field(default_factory=Counter)
    late: Array = field(default_factory=lambda: np.zeros(0))
    ports: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def sent(self) -> int:
        """All of them."""
        return len(self.times) + self.failed.total()

    @classmethod
    def together(cls, parts: Sequence[Answers]) -> Answers:
        """Those of several senders, or rounds."""
        failed: Counter[str] = Counter()
        for part in parts:
            failed += part.failed
        columns = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("times", "rx_cpus", "late", "ports")
        )
        times, rx_cpus, late, ports = columns
        return cls(times, rx_cpus, failed, late, ports)


@dataclass(frozen=True)
class Sender:
    """A sender that runs."""

    process: Process

    def answers(self, patience: float) -> Answers:
        """Wait for its end, so many seconds at most.

        Raises:
            LocalityError: It did not end well.
        """
        deadline = time.monotonic() + patience
        while self.process.entry.poll() is None:
            if time.monotonic() > deadline:
                raise LocalityError("the load generator did not end")
            time.sleep(0.01)
        printed = self.process.printed()
        try:
            told = json.loads(printed.splitlines()[-1])
        except (ValueError, IndexError):
            raise LocalityError(
                f"the load generator ended early: {printed.strip()[-300:]}"
            ) from None
        return Answers(
            np.array(told["times"]),
            np.array(told["rx_cpus"], np.int64),
            Counter(told["failed"]),
            np.array(told["late"]),
            np.array(told["ports"], np.int64),
        )


@contextmanager
def run_sender(client: Namespace, orders: Orders) -> Iterator[Sender]:
    """Start a sender in a namespace; it begins when it was ordered to, and ends by itself."""
    argv = (*PYTHON, "locality.lab.queue_load", json.dumps(asdict(orders)))
    with client.start(*argv, own_mounts=False) as process:
        yield Sender(process)


class _Loop:
    """The connections under way."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self._request = WORK.pack(orders.work)
        self._ports = cycle(orders.ports)
        self.times: list[float] = []
        self.rx_cpus: list[int] = []
        self.ports: list[int] = []
        self.late: list[float] = []
        self.failed: Counter[str] = Counter()

    def run(self) -> None:
        """Make every connection, and wait for the answers."""
        orders = self._orders
        draw = np.random.default_rng(orders.seed)
        count = draw.poisson(orders.rate * orders.seconds)
        due = (orders.begin + np.sort(draw.uniform(0, orders.seconds, count))).tolist()
        heapq.heapify(due)
        end = orders.begin + orders.seconds + DRAIN_S
        while (due or self._open) and (now := time.monotonic()) < end:
            if due and due[0] <= now:
                self._begin(heapq.heappop(due))
                self._take(0)
            else:
                self._take(min(due[0] if due else end, end) - now)
        self.failed["TIMEOUT"] += len(self._open) + len(due)

    def _begin(self, due: float) -> None:
        self.late.append(time.monotonic() - due)
        for _ in self._orders.ports:
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            code = self._connect(made, next(self._ports))
            if code in {0, errno.EINPROGRESS}:
                self._open[made.fileno()] = made, due
                self._epoll.register(made, select.EPOLLOUT)
                return
            self._close(made)
            if code not in _BUSY_PORT:
                break
        self.failed[errno.errorcode.get(code, str(code))] += 1

    def _connect(self, made: socket.socket, port: int) -> int:
        """Connect from a port; 0 or the errno."""
        try:
            made.bind(("", port))
        except OSError as error:
            return error.errno or errno.EIO
        return made.connect_ex((self._orders.address, PORT))

    def _take(self, seconds: float) -> None:
        # epoll waits for whole milliseconds, and the next connection is due between two of them.
        select.select([self._epoll], (), (), max(seconds, 0))
        for fd, events in self._epoll.poll(0):
            made, due = self._open[fd]
            code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._drop(fd)
                self._fail(made, code)
            elif events & select.EPOLLOUT:
                made.send(self._request)
                self._epoll.modify(fd, select.EPOLLIN)
            else:
                self._answered(fd, made, due)

    def _answered(self, fd: int, made: socket.socket, due: float) -> None:
        code, answer = 0, b""
        try:
            answer = made.recv(WORK.size)
        except OSError as error:
            code = error.errno or errno.EIO
        now = time.monotonic()
        self._drop(fd)
        if len(answer) != WORK.size:
            self._fail(made, code or errno.ENODATA)
            return
        self.times.append(now - due)
        self.rx_cpus.append(*WORK.unpack(answer))
        self.ports.append(made.getsockname()[1])
        made.close()

    def _drop(self, fd: int) -> None:
        del self._open[fd]
        with suppress(OSError):
            self._epoll.unregister(fd)

    def _fail(self, made: socket.socket, code: int) -> None:
        self.failed[errno.errorcode.get(code, str(code))] += 1
        self._close(made)

    def _close(self, made: socket.socket) -> None:
        """Close it so that its port is free at once."""
        with suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        made.close()


def main(text: str) -> None:
    """Do as ordered, and print the answers as JSON."""
    orders = Orders(**json.loads(text))
    os.sched_setaffinity(0, {orders.cpu})
    run_first()
    loop = _Loop(orders)
    time.sleep(max(0.0, orders.begin - time.monotonic()))
    loop.run()
    print(  # noqa: T201 - what it is for
        json.dumps(
            {
                "times": loop.times,
                "rx_cpus": loop.rx_cpus,
                "failed": loop.failed,
                "late": loop.late,
                "ports": loop.ports,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
