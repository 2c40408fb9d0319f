"""A real nginx with one listening socket and one pinned worker for each CPU."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.namespaces import POLL_S, START_S
from locality.lab.programs import children
from locality.reuseport.descriptors import held_sockets
from locality.reuseport.workers import find

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.namespaces import Namespace, Process

PORT = 8080
REQUESTS, KEPT_MS = 200, 2000
"""A connection is closed after so many requests, and after so long: there are always new ones to
accept, on a slow machine, too (keepalive_time is of nginx 1.19.10)."""
PREFIX = "/tmp/nginx"  # noqa: S108 - /tmp of the namespace, which is private and ends with it
LARGE, LARGE_BYTES = "large", 1 << 16
"""A file that it serves, and its size; any other path is answered with a few bytes."""
STATUS = "status"
"""A unix socket in the prefix where it tells how many requests it has answered."""
TCP_LISTEN = "0A"
"""The state of a listening socket as /proc/net/tcp prints it."""


@dataclass(frozen=True)
class Nginx:
    """A running nginx. Worker i serves index i of the reuseport group."""

    process: Process
    cpus: tuple[int, ...]
    """The CPU each worker is pinned to, by worker."""

    @property
    def pid(self) -> int:
        """The master's pid. The master holds every listening socket."""
        return self.process.pid

    def workers(self) -> tuple[int, ...]:
        """The workers' pids, by worker; shorter than `cpus` while some have not started."""
        pinned = {}
        for pid in children(self.pid):
            with suppress(ProcessLookupError):
                pinned[frozenset(os.sched_getaffinity(pid))] = pid
        by_cpu = [pinned.get(frozenset({cpu})) for cpu in self.cpus]
        return tuple(pid for pid in by_cpu if pid is not None)

    def requests(self) -> int:
        """How many requests it has answered until now, this question among them.

        Raises:
            LocalityError: It does not answer.
        """
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START_S)
            try:
                client.connect(f"/proc/{self.pid}/root{PREFIX}/{STATUS}")
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(4096), b""))
            except OSError as error:
                raise LocalityError(f"nginx: its status: {error.strerror or error}") from error
        # The line below the one that names them: accepts, handled, requests.
        counts = answer.partition(b"requests\n")[2].split()
        return int(counts[2])

    def is_served(self) -> bool:
        """Whether somebody waits for each of its sockets: a worker is pinned before it does."""
        held = held_sockets(self.pid)
        sockets = find({held[fd] for fd in self.listen_fds()})
        return len(sockets) == len(self.cpus) and all(sockets.values())

    def listen_fds(self) -> tuple[int, ...]:
        """The master's fds of the listening sockets, in the order of the reuseport group.

        nginx opens them in that order, so it is the order of the numbers too.
        """
        # Of the target, not of /proc/self: the kernel answers for that process's network.
        table = Path(f"/proc/{self.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        rows = [line.split() for line in table]
        listening = {f"socket:[{row[9]}]" for row in rows if row[3] == TCP_LISTEN}
        fds = {}
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                fds[int(entry.name)] = str(entry.readlink())
        return tuple(sorted(fd for fd, target in fds.items() if target in listening))


@contextmanager
def run_nginx(
    server: Namespace, cpus: Sequence[int], requests: int | None = None
) -> Iterator[Nginx]:
    """Start nginx in a namespace; it runs until the block ends.

    Args:
        server: Where.
        cpus: One worker for each, pinned to it, in this order.
        requests: A connection is closed after so many; None: after `REQUESTS`, or `KEPT_MS`.

    Yields:
        It, when every worker is up and on its CPU.

    Raises:
        LocalityError: It did not start; carries the last line it printed.
    """
    server.run("mkdir", "-p", PREFIX)
    server.run("rm", "-f", f"{PREFIX}/{STATUS}")  # of one that was killed
    server.write(f"{PREFIX}/{LARGE}", "x" * LARGE_BYTES)
    server.write(f"{PREFIX}/nginx.conf", render(cpus, requests))
    # -e: else it opens the log file it was built with, before it reads the configuration.
    argv = ("nginx", "-e", "stderr", "-p", PREFIX, "-c", "nginx.conf")
    with server.start(*argv) as process:
        nginx = Nginx(process, tuple(cpus))
        deadline = time.monotonic() + START_S
        while len(nginx.workers()) < len(cpus) or not nginx.is_served():
            process.check()
            if time.monotonic() > deadline:
                printed = process.printed().splitlines() or ["it printed nothing"]
                raise LocalityError(
                    f"nginx: no worker on each of CPUs {', '.join(map(str, cpus))} "
                    f"after {START_S:.0f} s: {printed[-1]}"
                )
            time.sleep(POLL_S)
        yield nginx


def render(cpus: Sequence[int], requests: int | None = None) -> str:
    """The configuration: nothing in it or left to a default points outside the prefix.

    Args:
        cpus: The CPU of each worker.
        requests: A connection is closed after so many; None: after `REQUESTS`, or `KEPT_MS`.
    """
    closed = f"keepalive_requests {requests or REQUESTS};"
    if requests is None:
        closed += f" keepalive_time {KEPT_MS}ms;"
    # The temporary directories are named because nginx makes them, and changes the owner of
    # those that exist, even if it never uses them.
    return f"""\
daemon off;
user root;
pid nginx.pid;
error_log stderr error;
worker_processes {len(cpus)};
worker_cpu_affinity {" ".join(affinity(cpu) for cpu in cpus)};

events {{
    worker_connections 1024;
}}

http {{
    access_log off;
    {closed}
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    server {{
        listen {PORT} reuseport;
        location / {{
            return 200 "local\\n";
        }}
        location = /{LARGE} {{
            root {PREFIX};
        }}
    }}

    server {{
        listen unix:{PREFIX}/{STATUS};
        location / {{
            stub_status;
        }}
    }}
}}
"""


def affinity(cpu: int) -> str:
    """One CPU as worker_cpu_affinity reads it: a binary number, CPU 0 rightmost.

    >>> affinity(2)
    '100'
    """
    return "1" + "0" * cpu
