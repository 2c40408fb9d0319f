"""recvmmsg, sendmmsg and shared rows, on sockets of the loopback interface."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from locality.lab.messages import BATCH, LARGEST, Batch, connected
from locality.lab.shared_rows import CACHE_LINE, layout, shared_rows
from locality.lab.udp_forwarder import WORKER
from locality.lab.udp_sender import SENDER, Window

LENGTHS = (1, 36, 1472, 2972, LARGEST)
#: When datagrams that nobody reads count as lost.
NEVER_S, AT_ONCE_S = 1e9, -1.0


def receiver() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind(("127.0.0.1", 0))
    return made


# Bugs: the layout of a struct is not the kernel's; a header points at another row's memory; the
# lengths of one batch are left for the next. Python's own socket calls are the witness.
def test_datagrams_are_forwarded_as_they_came() -> None:
    batch = Batch()
    with receiver() as here, receiver() as there, connected(*there.getsockname()) as out:
        for lengths in (LENGTHS, LENGTHS[::-1]):
            sent = [bytes([number]) * length for number, length in enumerate(lengths)]
            with connected(*here.getsockname()) as source:
                for each in sent:
                    source.send(each)
                count = batch.receive(here.fileno())
                origin = source.getsockname()
            assert count == len(sent)
            assert batch.received[:count].tolist() == list(lengths)
            assert [batch.source(row) for row in range(count)] == [origin] * count
            batch.keep_lengths(count)
            assert batch.send(out.fileno(), 0, count) == count
            assert [there.recv(LARGEST + 1) for _ in sent] == sent


# Bug: rows are sent from the first on, whatever was asked for: a keep-alive is forwarded.
def test_some_rows_are_sent() -> None:
    batch = Batch(4)
    batch.payload[:, 0] = range(4)
    batch.set_length(1)
    with receiver() as there, connected(*there.getsockname()) as out:
        assert batch.send(out.fileno(), 1, 3) == 2
        assert [there.recv(9), there.recv(9)] == [b"\1", b"\2"]
        assert batch.send(out.fileno(), 2, 2) == 0


# Bug: more than a batch is written past the end of the buffers, or lost.
def test_what_has_no_room_waits() -> None:
    batch = Batch()
    with receiver() as here, connected(*here.getsockname()) as source:
        for _ in range(BATCH + 3):
            source.send(b"x")
        assert batch.receive(here.fileno()) == BATCH
        assert batch.receive(here.fileno()) == 3
        assert batch.receive(here.fileno(), socket.MSG_DONTWAIT) == 0


# Bug: a closed socket looks like one without datagrams, and a worker spins for ever.
def test_a_refused_call_is_an_error() -> None:
    with receiver() as here:
        fd = here.fileno()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        Batch().receive(fd)


# Bug: one datagram that the kernel refuses takes the rest of the batch with it, or is counted.
def test_a_refused_datagram_is_skipped() -> None:
    batch = Batch(3)
    with receiver() as gone:
        nobody = gone.getsockname()
    with connected(*nobody) as out:
        batch.set_length(1)
        assert batch.send(out.fileno(), 0, 1) == 1  # it left; the answer is an ICMP error
        assert batch.send(out.fileno(), 0, 3) == 2  # which the first of these gets


OTHER = """
import sys
from locality.lab.shared_rows import layout, open_rows
rows = open_rows(sys.argv[1], layout([f"field{number}" for number in range(9)]))
rows["field0"] = rows["field8"] * 10
"""


# Bugs: rows overlap, or share a cache line; a second process sees another memory; the memory, or
# its descriptor, outlives the block.
def test_rows_are_shared() -> None:
    row = layout([f"field{number}" for number in range(9)])
    assert row.itemsize == 2 * CACHE_LINE
    with shared_rows(row, 3) as shared:
        shared.rows["field8"] = (1, 2, 3)
        subprocess.run([sys.executable, "-c", OTHER, shared.path], check=True)
        assert shared.rows["field0"].tolist() == [10, 20, 30]
        assert shared.rows["field8"].tolist() == [1, 2, 3]
    assert not Path(shared.path).exists()


# Bugs: what one worker read, or one process sent, is left out; what was lost fills the window for
# ever; a loss is forgotten while datagrams are still read.
def test_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    written_off_after = partial(monkeypatch.setattr, "locality.lab.udp_sender.WRITE_OFF_S")
    written_off_after(NEVER_S)
    senders, workers = np.zeros(2, SENDER), np.zeros(2, WORKER)
    window = Window(senders, workers)
    senders["sent"] = (100, 50)
    workers["received"] = (40, 10)
    assert window.under_way() == 100
    workers["received"][1] = 30
    assert window.under_way() == 80
    written_off_after(AT_ONCE_S)
    assert window.under_way() == 0  # nothing was read for so long: they are lost
    written_off_after(NEVER_S)
    senders["sent"][0] += 7
    assert window.under_way() == 7
    window.forget()
    assert window.under_way() == 0
