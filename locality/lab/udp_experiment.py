"""The scaling experiment: one to N forwarding sockets, steered in four ways.

For each number of sockets a forwarder is started anew, so that its group is new; the other
variables change while it runs. What is measured is what the workers read in a window of time,
once the sender has run a moment; every datagram is counted from before the first to after the
last, when the sender has stopped and the queues are empty.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError, Unsupported
from locality.lab import programs
from locality.lab.namespaces import namespace
from locality.lab.network import CLIENT_ADDRESS, LINK, SERVER_ADDRESS, connect, receive_on
from locality.lab.shared_rows import SharedRows, shared_rows
from locality.lab.udp_account import (
    payload_of,
    read_account,
    settled_account,
)
from locality.lab.udp_cases import Case, Figures, Result
from locality.lab.udp_forwarder import WORKER, run_forwarder
from locality.lab.udp_rx_cpus import counting_rx_cpus
from locality.lab.udp_sender import run_sender
from locality.lab.udp_steering import steering
from locality.lab.udp_traced import Tracer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.namespaces import Namespace
    from locality.lab.udp_forwarder import Forwarder
    from locality.lab.udp_rx_cpus import RxCpus
    from locality.lab.udp_sender import Sender

SECONDS = 0.4
ROUNDS = 3
SETTLE_S = 0.1
"""The sender runs this long before rates are measured."""
WINDOW, WIDEST_WINDOW = 128, 512
"""Datagrams under way for each socket, and for all. A socket's buffer and the CPU's backlog
(net.core.netdev_max_backlog, 1000) hold all of them: what is lost then has another reason."""
ETHERNET_MTU = 1500
PACKAGES = {
    name: programs.PACKAGES[name] for name in ("cat", "ip", "mount", "nsenter", "tee", "unshare")
}


@dataclass
class UdpLab:
    """Two namespaces, a cable, and a sender that waits for orders.

    Attributes:
        cpus: Those workers are pinned to and packets are received on, in order.
        sender_cpus: Those the sender's processes are pinned to.
        shared: What the workers count.
    """

    server: Namespace
    client: Namespace
    cpus: tuple[int, ...]
    sender_cpus: tuple[int, ...]
    sender: Sender
    shared: SharedRows
    _mtu: int = ETHERNET_MTU

    @property
    def shared_from(self) -> int:
        """From this number of sockets on, a worker shares its CPU with the sender."""
        return next(
            (count for count, cpu in enumerate(self.cpus, 1) if cpu in self.sender_cpus),
            len(self.cpus) + 1,
        )

    def set_size(self, size: int) -> None:
        """Let packets of this size pass the cable whole."""
        mtu = max(size, ETHERNET_MTU)
        if mtu == self._mtu:
            return
        for end in (self.server, self.client):
            end.run("ip", "link", "set", LINK, "mtu", str(mtu))
        self._mtu = mtu

    @contextmanager
    def forwarder(self, sockets: int) -> Iterator[Forwarder]:
        """A new forwarder with so many sockets, and packets received on its workers' CPUs.

        Raises:
            LocalityError: It did not start.
        """
        cpus = [self.cpus[index % len(self.cpus)] for index in range(sockets)]
        receive_on(self.server, sorted(set(cpus)), len(self.cpus))
        with run_forwarder(self.server, cpus, self.shared) as forwarder:
            yield forwarder


def allowed_cpus() -> tuple[int, ...]:
    """The CPUs this process may run on, ascending."""
    return tuple(sorted(os.sched_getaffinity(0)))


@contextmanager
def open_udp_lab(most_sockets: int, senders: int | None = None) -> Iterator[UdpLab]:
    """Set the lab up; when the block ends, nothing of it is left.

    Args:
        most_sockets: The largest group that will be asked for.
        senders: Processes that send, on CPUs from the last one down; by default one for two
            CPUs.

    Raises:
        LocalityError: Not root, a program is missing, a command failed.
    """
    programs.require(PACKAGES)
    cpus = allowed_cpus()
    count = senders or max(1, len(cpus) // 2)
    sender_cpus = tuple(cpus[-1 - number % len(cpus)] for number in range(count))
    with (
        shared_rows(WORKER, most_sockets) as shared,
        namespace() as server,
        namespace() as client,
    ):
        connect(server, client, cpus)
        _introduce(server, client)
        with run_sender(client, sender_cpus, shared) as sender:
            yield UdpLab(server, client, cpus, sender_cpus, sender, shared)


def _introduce(server: Namespace, client: Namespace) -> None:
    """Tell each end the other's address: no datagram waits, or is lost, for ARP.

    Without IPv6, whose own packets would be counted among the lost.
    """
    for end, other, address in (
        (server, client, CLIENT_ADDRESS),
        (client, server, SERVER_ADDRESS),
    ):
        hardware = other.run("cat", f"/sys/class/net/{LINK}/address").strip()
        neighbour = (address, "lladdr", hardware, "dev", LINK, "nud", "permanent")
        end.run("ip", "neighbour", "replace", *neighbour)
        if Path("/proc/sys/net/ipv6").exists():
            end.write(f"/proc/sys/net/ipv6/conf/{LINK}/disable_ipv6", "1")


def run(
    lab: UdpLab,
    wanted: Sequence[Case],
    *,
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
    flood: bool = False,
) -> Iterator[Result]:
    """Measure each case in turn, and all of them again in each round.

    What a busy neighbour takes from one case it then takes from others in another round.

    Args:
        lab: As `open_udp_lab` gives it.
        wanted: The cases; those of one number of sockets, and of one steering, in a row.
        seconds: For each in each round, beside a moment to settle.
        rounds: How often.
        flood: Send as fast as possible, whatever is lost.

    Yields:
        Each case's result of a round as soon as it is known; `merged` puts them together. A
        steering that cannot be used here is a result too.

    Raises:
        LocalityError: The lab itself did not last.
    """
    for _ in range(rounds):
        for count, alike in groupby(wanted, lambda case: case.sockets):
            with lab.forwarder(count) as forwarder, ExitStack() as stack:
                received, tracer = _rx_cpus(stack, forwarder), _tracer(stack, forwarder)
                measuring = _Measuring(lab, forwarder, received, tracer, seconds, flood=flood)
                for (size, steered), group in groupby(
                    alike, lambda case: (case.size, case.steering)
                ):
                    lab.set_size(size)
                    yield from _steered(measuring, list(group), steered)


@dataclass(frozen=True)
class _Measuring:
    lab: UdpLab
    forwarder: Forwarder
    received: RxCpus | None
    tracer: Tracer | None
    seconds: float
    flood: bool

    def figures(self, case: Case, *, native_xdp: bool) -> Figures:
        """Measure a case, as the group is steered now."""
        sender, forwarder = self.lab.sender, self.forwarder
        before = read_account(sender, forwarder, native_xdp=native_xdp)
        if self.tracer:
            self.tracer.read()  # what lies in it is of the case before
        worked, waited = self._cpu_ns(), forwarder.waited_ns
        received = self.received.read() if self.received else None
        window = 0 if self.flood else min(WINDOW * case.sockets, WIDEST_WINDOW)
        sender.send(payload_of(case.size), case.flows, window)
        time.sleep(SETTLE_S)
        begin, read = self._read()
        time.sleep(self.seconds)
        end, read_then = self._read()
        sender.stop()
        account = settled_account(sender, forwarder, before, native_xdp=native_xdp)
        rx_cpus, local, known = {}, 0, 0
        if self.received and received is not None:
            grown = self.received.read() - received
            by_cpu = grown.sum(axis=0)
            rx_cpus = {cpu: int(count) for cpu, count in enumerate(by_cpu) if count}
            local = sum(int(grown[row, cpu]) for row, cpu in enumerate(forwarder.cpus))
            known = int(grown.sum())
        return Figures(
            seconds=end - begin,
            rounds=((read_then - read) / (end - begin),),
            account=account,
            cpu_seconds=(self._cpu_ns() - worked) / 1e9,
            waited_seconds=(forwarder.waited_ns - waited) / 1e9,
            rx_cpus=rx_cpus,
            local=local,
            known=known,
            traced=self.tracer.read() if self.tracer else None,
        )

    def _cpu_ns(self) -> int:
        return int(self.forwarder.rows["cpu_ns"].sum())

    def _read(self) -> tuple[float, int]:
        """The time, and how many datagrams the workers have read by then."""
        self.forwarder.process.check()
        self.lab.sender.process.check()
        return time.monotonic(), int(self.forwarder.rows["received"].sum())


def _steered(measuring: _Measuring, group: Sequence[Case], steered: str) -> Iterator[Result]:
    """The cases of one steering, or why it is refused."""
    with ExitStack() as stack:
        try:
            native = stack.enter_context(
                steering(steered, measuring.lab.server, measuring.forwarder)
            )
        except LocalityError as refusal:
            yield from (Result(case, None, str(refusal)) for case in group)
            return
        for case in group:
            yield Result(case, measuring.figures(case, native_xdp=native))


def _rx_cpus(stack: ExitStack, forwarder: Forwarder) -> RxCpus | None:
    try:
        return stack.enter_context(counting_rx_cpus(forwarder.pid, forwarder.sockets()))
    except LocalityError:
        return None  # every figure but locality is known without


def _tracer(stack: ExitStack, forwarder: Forwarder) -> Tracer | None:
    try:
        return Tracer(stack, forwarder)
    except Unsupported:
        return None  # it only confirms what is counted otherwise
