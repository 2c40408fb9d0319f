"""The UDP sender: pinned processes that send as fast as datagrams are read, and the sink.

Run as a program (``python -m locality.lab.udp_sender ORDER ROWS WORKERS CPU,CPU,...``) in the
client's namespace. Orders come through shared memory, so that starting and stopping costs no
process. Of what was sent at most a window is under way: sent, and not yet read by a worker. So
the rate is what the workers get done, as it is with a sender that heeds losses. Without a
window the sender floods; then softirqs can take the time in which workers would read.

Of one flow all processes send through one socket; of many each has MANY sockets with ports of
their own and sends a batch from each in turn. Segmentation offload is not asked for: what is
counted are datagrams that went through the stack one by one.

The sink is a socket whose filter takes nothing. The kernel looks it up, counts the datagram
in the socket's drops, and throws it away: a sink that needs no reader, which would take a CPU.
"""

from __future__ import annotations

import ctypes
import itertools
import socket
import struct
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from locality.errors import LocalityError
from locality.lab.messages import Batch, connected
from locality.lab.namespaces import POLL_S, START_S
from locality.lab.network import CLIENT_ADDRESS, SERVER_ADDRESS
from locality.lab.pinned import run_pinned
from locality.lab.programs import PYTHON
from locality.lab.shared_rows import Rows, layout, open_rows, shared_rows
from locality.lab.udp_forwarder import PORT, SINK_PORT, WORKER, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from locality.lab.namespaces import Namespace, Process
    from locality.lab.shared_rows import SharedRows

ONE_PORT = 9002
"""The source port of the one flow."""
MANY = 256
"""Flows of each process when there are many."""
BATCH = 32
"""Datagrams of one flow in a row."""
FLOWS = ("many", "one")
IDLE_S = 0.001
FULL_S = 20e-6
"""How long to wait while the window is full."""

WRITE_OFF_S = 1.0
"""When no datagram was read for so long, those under way are taken for lost. A worker may wait
for its CPU half as long on a busy machine."""

ORDER = layout(("number", "payload", "one", "window"))
"""What to do: payload bytes of each datagram, 0 for nothing; whether to send as one flow; how
many datagrams may be under way, 0 for any number. The number is written last."""
SENDER = layout(("ready", "number", "sent", "refused"))
"""What a process did: the order it follows, datagrams sent, those the kernel refused."""

_SO_ATTACH_FILTER = 26
_TAKE_NOTHING = (0x06, 0, 0, 0)  # ret #0


@dataclass(frozen=True)
class Sender:
    """A running sender."""

    process: Process
    """The first of its processes, which holds the sink."""
    rows: Rows
    """What each process did so far; dtype SENDER."""
    _order: Rows

    def send(self, payload: int, flows: str, window: int) -> None:
        """Send from now on.

        Args:
            payload: Bytes of each datagram's payload, 1 or more.
            flows: Of FLOWS.
            window: How many datagrams may be under way; 0: any number.

        Raises:
            LocalityError: A process did not answer.
        """
        self._give(payload, window, one=flows == "one")

    def stop(self) -> None:
        """Send nothing from now on; when it returns, every datagram sent is counted.

        Raises:
            LocalityError: A process did not answer.
        """
        self._give(0, 0, one=False)

    def _give(self, payload: int, window: int, *, one: bool) -> None:
        order = self._order[0]
        order["payload"], order["one"], order["window"] = payload, one, window
        order["number"] += 1
        deadline = time.monotonic() + START_S
        while not (self.rows["number"] == order["number"]).all():
            self.process.check()
            if time.monotonic() > deadline:
                raise LocalityError(f"the sender did not follow an order within {START_S:.0f} s")
            time.sleep(POLL_S)


@contextmanager
def run_sender(client: Namespace, cpus: Sequence[int], workers: SharedRows) -> Iterator[Sender]:
    """Start a sender and the sink in a namespace; idle at first, it runs until the block ends.

    Args:
        client: Where.
        cpus: One process for each, pinned to it.
        workers: What the forwarder's workers count; dtype WORKER.

    Raises:
        LocalityError: It did not start; carries the last line it printed.
    """
    with shared_rows(ORDER, 1) as order, shared_rows(SENDER, len(cpus)) as done:
        paths = (order.path, done.path, workers.path)
        argv = (*PYTHON, "locality.lab.udp_sender", *paths, ",".join(map(str, cpus)))
        with client.start(*argv, own_mounts=False) as process:
            wait_until_ready(process, done.rows)
            yield Sender(process, done.rows, order.rows)


def make_sink() -> socket.socket:
    """The socket that counts what is sent on, and keeps none of it.

    Raises:
        OSError: The kernel refused.
    """
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nothing = ctypes.create_string_buffer(struct.pack("=HBBI", *_TAKE_NOTHING))
    program = struct.pack("@HP", 1, ctypes.addressof(nothing))
    sink.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    sink.bind((CLIENT_ADDRESS, SINK_PORT))
    return sink


class Window:
    """How many datagrams are under way, of all the sender's processes together.

    Args:
        senders: Dtype SENDER.
        workers: Dtype WORKER.
    """

    def __init__(self, senders: Rows, workers: Rows) -> None:
        self._sent, self._read = senders["sent"], workers["received"]
        self._lost = self._last_read = 0
        self._last_change = time.monotonic()

    def forget(self) -> None:
        """Take what was sent and not read so far for lost."""
        self._lost = int(self._sent.sum()) - int(self._read.sum())
        self._last_change = time.monotonic()

    def under_way(self) -> int:
        """Datagrams sent and not yet read; below 0 where some were written off too early."""
        read, now = int(self._read.sum()), time.monotonic()
        if read != self._last_read:
            self._last_read, self._last_change = read, now
        elif now - self._last_change > WRITE_OFF_S:
            self.forget()
        return int(self._sent.sum()) - read - self._lost


def work(order: np.void, row: np.void, window: Window, one: socket.socket) -> NoReturn:
    """Follow orders: what a process does until it is killed."""
    batch = Batch(BATCH)
    many = [connected(SERVER_ADDRESS, PORT) for _ in range(MANY)]
    flows = {0: [flow.fileno() for flow in many], 1: [one.fileno()]}
    row["ready"] = 1
    while True:
        # The number first: if what follows is of a later order, the number is no longer the
        # order's, and nothing is sent.
        number, payload = int(order["number"]), int(order["payload"])
        if payload == 0:
            row["number"] = number
            time.sleep(IDLE_S)
            continue
        batch.set_length(payload)
        window.forget()
        row["number"] = number
        _send(order, row, window, batch, flows[int(order["one"])])


def _send(order: np.void, row: np.void, window: Window, batch: Batch, flows: list[int]) -> None:
    """Send from each flow in turn until there is another order than the row's."""
    widest = int(order["window"])
    for fd in itertools.cycle(flows):
        while widest and order["number"] == row["number"] and window.under_way() > widest:
            time.sleep(FULL_S)
        if order["number"] != row["number"]:
            break
        sent = batch.send(fd, 0, BATCH)
        row["sent"] += sent
        row["refused"] += BATCH - sent


def main(order_path: str, path: str, workers_path: str, cpus: Sequence[int]) -> NoReturn:
    """Run the sender and hold the sink."""
    order, rows = open_rows(order_path, ORDER), open_rows(path, SENDER)
    window = Window(rows, open_rows(workers_path, WORKER))
    # Held by this process, which does not end before the others: they inherit it.
    sink = make_sink()
    one = connected(SERVER_ADDRESS, PORT, source=(CLIENT_ADDRESS, ONE_PORT))

    def sender(number: int) -> NoReturn:
        sink.close()
        work(order[0], rows[number], window, one)

    run_pinned(cpus, sender)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], [int(cpu) for cpu in sys.argv[4].split(",")])
