"""A real Prometheus, and a server whose local share is known."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.live.helpers.ports import free_port
from tests.live.helpers.traffic import HERE, PATIENCE, THERE, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = Path(__file__).parents[3] / "install/prometheus/locality.rules.yml"


@dataclass(frozen=True)
class Prometheus:
    """A running one.

    Attributes:
        port: Where it answers.
    """

    port: int

    def ask(self, query: str, label: str = "distance") -> dict[str, float]:
        """The values of an instant query, by a label."""
        asked = urllib.parse.urlencode({"query": query})
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{asked}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return {
            one["metric"].get(label, ""): float(one["value"][1]) for one in said["data"]["result"]
        }

    def settled(self, query: str) -> dict[str, float]:
        """The values, once they have stayed the same over some scrapes."""
        deadline = time.monotonic() + PATIENCE
        before: dict[str, float] = {}
        same = 0
        while same < 4:
            assert time.monotonic() < deadline, before
            time.sleep(0.5)
            now = self.ask(query)
            same = same + 1 if now and now == before else 0
            before = now
        return before


@contextmanager
def prometheus(directory: Path, *targets: str, every: str = "500ms") -> Iterator[Prometheus]:
    """Prometheus, which scrapes exporters again and again, and has our rules."""
    config = {
        "global": {"scrape_interval": every, "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "locality", "static_configs": [{"targets": targets}]}],
    }
    file = directory / "prometheus.yml"
    file.write_text(json.dumps(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = (directory / "prometheus.log").open("w")
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            server = Prometheus(port)
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    if len(server.ask("up == 1", "instance")) == len(targets):
                        break
                except OSError:
                    pass
                assert time.monotonic() < deadline, "never scraped"
                assert process.poll() is None, (directory / "prometheus.log").read_text()
                time.sleep(0.1)
            yield server
        finally:
            process.kill()


# Two listeners of one group, each with a process on a CPU of its own; both end with their input.
SERVER = """
import os, socket, sys
first = socket.create_server(("127.0.0.1", 0), reuse_port=True, backlog=256)
second = socket.create_server(first.getsockname(), reuse_port=True, backlog=256)
pid = os.fork()
os.sched_setaffinity(0, {int(sys.argv[1 if pid else 2])})
mine = first if pid else second
if pid:
    print(first.getsockname()[1], first.fileno(), flush=True)
while True:
    mine.accept()[0].close()
"""


@contextmanager
def serving() -> Iterator[tuple[int, int, int]]:
    """A server's pid, port, and a descriptor of its group; the worker of place i is on CPU i."""
    command = [sys.executable, "-c", SERVER, str(HERE), str(THERE)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            port, fd = map(int, process.stdout.readline().split())
            yield process.pid, port, fd
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def connect(port: int, count: int) -> None:
    """Connections from both CPUs in turn; each is over before the next one."""
    for number in range(count):
        with (
            pinned(THERE if number % 2 else HERE),
            socket.create_connection(("127.0.0.1", port), PATIENCE) as client,
        ):
            client.recv(1)
