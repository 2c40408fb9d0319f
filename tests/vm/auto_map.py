"""`--map auto` behind a card with more queues than there are workers.

Runs in the guest of `tests/vm/test_auto_map.py`: nginx on every other CPU, load from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from locality.lab.namespaces import Namespace
from locality.lab.nginx import PORT, run_nginx
from locality.machine import topology
from locality.machine.distance import by_distance
from locality.steering.watch import Watch, watching
from tests.vm.guest_nic import set_up
from tests.vm.load_wire import wire_to_load

MACHINE = topology.read()
FIGURES = Path("/run/share/figures.json")
TOOL = (sys.executable, "-m", "locality")


def counted(watch: Watch, seconds: float) -> dict[str, Any]:
    """How far from its RX CPU each connection was accepted, and by which CPUs."""
    watch.settle()
    seen = watch.count(seconds)
    apart = by_distance(seen.matrix, MACHINE.distances)
    return {
        "accepts": seen.total,
        "lost": seen.lost,
        "distances": {one.word: count for one, count in apart.items()},
        "accepted_by": seen.matrix.sum(axis=1).tolist(),
        "received_by": seen.matrix[:, :-1].sum(axis=0).tolist(),
    }


def run(*arguments: str) -> str:
    """Run the command line; what it printed."""
    done = subprocess.run([*TOOL, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"locality {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def main() -> None:
    """Hash, `cpu % N`, then the map; leave the figures in the shared directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", required=True, help="their CPUs, as 0,2,4")
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    workers = [int(cpu) for cpu in arguments.workers.split(",")]
    seconds: float = arguments.seconds
    server = Namespace(os.getpid())
    port = ("--port", str(PORT))
    figures: dict[str, Any] = {}
    with wire_to_load() as outside, ExitStack() as stack:
        set_up(server, sorted(os.sched_getaffinity(0)))
        stack.enter_context(run_nginx(server, workers))
        watch = stack.enter_context(watching(MACHINE, [PORT]))
        outside.start()
        figures["hash"] = counted(watch, seconds)
        told = run("explain", *port, "--duration", str(seconds), "--json")
        figures["explain"] = json.loads(told)["before"]
        run("attach-cbpf", *port, "--program", "cpu")
        figures["cpu"] = counted(watch, seconds)
        figures["said"] = run("attach-cbpf", *port, "--map", "auto", "--verify", str(seconds))
        figures["map"] = counted(watch, seconds)
        outside.stop()
    FIGURES.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
