"""Where connections go that are spilled: workers of four distances, RX CPUs that receive too much.

Runs in the guest of `tests/vm/test_spill_nearest.py`, over its loopback: the RX CPU is the one on
which a connection is made. Workers take a connection at a time, for as long as the emulated
machine's slowness does not matter.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locality.machine import topology
from locality.machine.distance import by_distance
from locality.reuseport.survey import find
from locality.steering.watch import watching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PORT = 7777
#: Long beside the time for which a busy host may keep an emulated CPU from running: a near worker
#: that stands still has a long queue, and then it is right to pass it over.
WORK_S = 0.25
#: Of what one worker takes, at each RX CPU: its own worker cannot take it, with one more it can.
LOAD, LOAD_OF_EACH = 1.4, 1.25
OPEN = 200
FIGURES = Path("/run/share/figures.json")
TOOL = (sys.executable, "-m", "locality")


def serve(cpus: Sequence[int]) -> Iterator[int]:
    """Fork a worker for each CPU; their pids."""
    listeners = [
        socket.create_server(("127.0.0.1", PORT), reuse_port=True, backlog=128) for _ in cpus
    ]
    for cpu, listener in zip(cpus, listeners, strict=True):
        pid = os.fork()
        if pid == 0:
            os.sched_setaffinity(0, {cpu})
            while True:
                with listener.accept()[0]:
                    time.sleep(WORK_S)
        yield pid
    for listener in listeners:
        listener.close()


def connect(cpu: int, until: float, load: float) -> None:
    """Connections from one CPU at a constant rate; nobody waits for an answer."""
    os.sched_setaffinity(threading.get_native_id(), {cpu})
    pending = deque[socket.socket]()
    due = time.monotonic()
    while (now := time.monotonic()) < until:
        if due > now:
            time.sleep(due - now)
        due += WORK_S / load
        pending.append(socket.create_connection(("127.0.0.1", PORT)))
        if len(pending) > OPEN:
            pending.popleft().close()


def phase(rx_cpus: Sequence[int], seconds: float, load: float) -> dict[str, Any]:
    """Attach for these RX CPUs, and let them receive too much."""
    listed = ",".join(map(str, rx_cpus))
    options = ("--map", "auto", "--rx-cpus", listed, "--spill", "1")
    done = subprocess.run(
        [*TOOL, "attach-cbpf", "--port", str(PORT), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    machine = topology.read()
    with watching(machine, [PORT]) as watch:
        watch.settle()
        until = time.monotonic() + seconds
        senders = [
            threading.Thread(target=connect, args=(cpu, until, load), daemon=True)
            for cpu in rx_cpus
        ]
        for sender in senders:
            sender.start()
        counted = watch.count(seconds)
        for sender in senders:
            sender.join()
    (found,) = find(ports=[PORT])
    spill = found.group.spill
    if spill is None or spill.counted is None:
        raise SystemExit("the group has no program that spills")
    apart = by_distance(counted.matrix, machine.distances)
    subprocess.run([*TOOL, "attach-cbpf", "--port", str(PORT), "--detach"], check=True)
    time.sleep(2)  # what still waits is served before the next phase
    return {
        "said": done.stdout,
        "accepts": counted.total,
        "lost": counted.lost,
        "received_by": counted.matrix[:, :-1].sum(axis=0).tolist(),
        "distances": {one.word: count for one, count in apart.items()},
        "kept": spill.counted.total("kept"),
        "kept_long": spill.counted.total("kept_long"),
        "spilled": {one.word: count for one, count in spill.counted.spilled.items()},
        "hashed": spill.counted.hashed,
    }


def main() -> None:
    """Leave the figures of each phase in the shared directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", required=True, help="their CPUs, as 0,1,2,4")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    workers = [*serve([int(cpu) for cpu in arguments.workers.split(",")])]
    try:
        figures = {
            "one": phase([0], arguments.seconds, LOAD),
            "both threads of a core": phase([0, 1], arguments.seconds, LOAD_OF_EACH),
        }
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
    FIGURES.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
