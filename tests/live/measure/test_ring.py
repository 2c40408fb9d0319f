"""The ring buffer under load: the kernel writes on every CPU while it is read.

On arm64 this is what shows whether loads and stores are in order (locality/bpf/barrier.py); an
emulated CPU keeps them in order by itself.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from locality.filter import Wanted
from locality.reads.tcp import TCP_READ, TcpReads
from tests.live.helpers.rungs import skip_without_atomics
from tests.live.helpers.traffic import CPUS, EMULATED, PATIENCE

pytestmark = [pytest.mark.live, pytest.mark.chosen, pytest.mark.core]

READS = 500 if EMULATED else 5_000
#: So small that it goes round some thousand times, and is full again and again.
RING = 4096

# Two threads of a process send each other a byte on a connection; half of the reads are one's.
PLAYER = f"""
import os, socket, sys
cpu, fd = map(int, sys.argv[1:])
os.sched_setaffinity(0, {{cpu}})
mine = socket.socket(fileno=fd)
sys.stdin.readline()
for _ in range({READS}):
    mine.send(b"x")
    mine.recv(1)
"""


# Bugs: a slot is read before it was written, so that a record of a lap before comes again; it is
# read while it is being written, and is torn; or it is given back before it was copied. Each
# record has a later time than the one before it of the same thread, and says what is known of it.
def test_no_record_is_old_or_torn_or_missing() -> None:
    skip_without_atomics(TcpReads)
    ends = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for _ in CPUS:
            client = socket.create_connection(listener.getsockname(), PATIENCE)
            ends += [(client, listener.accept()[0])]
    flat = [end for pair in ends for end in pair]
    for end in flat:
        end.setblocking(True)
    # Both ends of a connection on different CPUs, and as many connections as CPUs.
    players = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PLAYER, str(CPUS[(at // 2 + at) % len(CPUS)]), fd],
            stdin=subprocess.PIPE,
            pass_fds=[int(fd)],
        )
        for at, fd in enumerate(str(end.fileno()) for end in flat)
    ]
    known = {
        player.pid: (end.getsockname()[1], end.getpeername()[1], os.fstat(end.fileno()).st_ino)
        for player, end in zip(players, flat, strict=True)
    }
    batches, lost = [], 0
    try:
        with TcpReads(Wanted(pids=tuple(known)), RING) as source:
            for player in players:
                assert player.stdin
                player.stdin.write(b"\n")
                player.stdin.close()
            while any(player.poll() is None for player in players):
                batches.append(source.read().records)
            last = source.read()
            batches.append(last.records)
            lost = last.lost
    finally:
        for player in players:
            player.kill()
            player.wait()
        for end in flat:
            end.close()
    records = np.concatenate(batches)
    assert records.dtype == TCP_READ
    assert len(records) + lost == READS * len(players)
    assert len(records) > RING // TCP_READ.itemsize * 10, "the ring did not go round"
    for pid, (lport, rport, inode) in known.items():
        mine = records[records["pid"] == pid]
        assert (np.diff(mine["time"].astype(np.int64)) > 0).all()
        assert set(mine["tid"]) == {pid}
        assert set(mine["lport"]) == {lport}
        assert set(mine["rport"]) <= {rport}
        assert set(mine["inode"]) == {inode}
    assert set(records["pid"]) <= set(known)
    assert port in {*records["lport"].tolist(), *records["rport"].tolist()}
    assert set(records["netns"]) == {Path("/proc/self/ns/net").stat().st_ino}
