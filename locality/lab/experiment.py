"""The whole lab: a server with nginx, a client, and the cable between them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.load import run_load
from locality.lab.namespaces import namespace
from locality.lab.network import SERVER_ADDRESS
from locality.lab.nginx import PORT, run_nginx
from locality.lab.programs import require
from locality.lab.wires import lay_wire

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager

    from locality.lab.load import Load, RunningLoad
    from locality.lab.namespaces import Namespace
    from locality.lab.nginx import Nginx
    from locality.lab.wires import Wire

MOST_WORKERS = 4
"""Enough to see 1/N; the load generator needs CPUs too."""
URL = f"http://{SERVER_ADDRESS}:{PORT}/"


@dataclass
class Lab(ABC):
    """A lab that is up: nginx answers the client at URL."""

    server: Namespace
    cpus: tuple[int, ...]
    """The server's RX CPUs; `cpus[i] % N == i`, N of them."""
    _serving: ExitStack
    """Stops nginx when closed."""
    nginx: Nginx = field(init=False)
    """The nginx that runs now; another one after `serve`."""

    def serve(self, *, reverse: bool = False, requests: int | None = None) -> None:
        """Start nginx, after stopping the one that runs: a new reuseport group, no program.

        Args:
            reverse: Pin worker i to the i-th CPU from the end, not from the start.
            requests: A connection is closed after so many; None: see `nginx.render`.
        """
        self._serving.close()
        cpus = tuple(reversed(self.cpus)) if reverse else self.cpus
        self.nginx = self._serving.enter_context(run_nginx(self.server, cpus, requests))

    @abstractmethod
    def load(self) -> AbstractContextManager[RunningLoad]:
        """Load on nginx until the block ends.

        Raises:
            LocalityError: nginx, or the load generator, did not last.
        """


@dataclass
class LocalLab(Lab):
    """A lab on one machine: the client is another namespace."""

    client: Namespace
    wire: Wire

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Load on nginx until the block ends; see `Lab.load`.

        Where packets tell something, a connection carries many requests: nearly all packets are
        then requests and answers. Otherwise it carries one, so that there are many accepts.
        """
        threads, keep_alive = len(self.cpus), self.wire.like_card
        with run_load(self.client, URL, threads, keep_alive=keep_alive) as load:
            yield load
            self.nginx.process.check()
            self.wire.check()


@contextmanager
def open_lab(workers: int = MOST_WORKERS, wire_name: str = "veth-rps") -> Iterator[LocalLab]:
    """Set the lab up; when the block ends, nothing of it is left.

    Args:
        workers: At most so many nginx workers and RX CPUs; two or more.
        wire_name: What connects server and client: a name of `wires.WIRES`.

    Raises:
        LocalityError: Not root, a program or a second CPU is missing, a command failed.
    """
    require()
    cpus = rx_cpus(os.sched_getaffinity(0), workers)
    with (
        namespace() as server,
        namespace() as client,
        lay_wire(wire_name, server, client, cpus) as laid,
        ExitStack() as serving,
    ):
        lab = LocalLab(server, cpus, serving, client, laid)
        lab.serve()
        yield lab


def rx_cpus(allowed: Collection[int], workers: int = MOST_WORKERS) -> tuple[int, ...]:
    """Choose the CPUs of the experiment.

    N of them with `cpus[i] % N == i`, so that the program `cpu % N` is right when worker i
    is on CPU i; and N even, so that reversing the workers leaves none of them in place.

    Args:
        allowed: CPUs this process may run on.
        workers: The largest N.

    Raises:
        LocalityError: There are no two such CPUs.
    """
    for count in range(workers - workers % 2, 0, -2):
        chosen = [min((c for c in allowed if c % count == i), default=-1) for i in range(count)]
        if -1 not in chosen:
            return tuple(chosen)
    raise LocalityError(
        "the lab needs an even and an odd CPU to spread packets over, "
        f"this process may run on {', '.join(map(str, sorted(allowed)))} only"
    )
