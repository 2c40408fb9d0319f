"""Load from a real client: wrk, with one request for each connection or many."""

from __future__ import annotations

import re
import shlex
import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from locality.errors import LocalityError
from locality.lab.programs import failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from locality.lab.namespaces import Namespace, Process

CONNECTIONS = 64
LONGEST = "1h"
"""wrk wants a duration; it is stopped long before."""
STOP_S = 10.0

_REQUESTS = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_PER_SECOND = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_SOCKET_ERRORS = re.compile(
    r"^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", re.MULTILINE
)
_BAD_STATUS = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class LoadResult:
    """What a client got done."""

    requests: int
    requests_per_second: float
    errors: Mapping[str, int] = field(default_factory=dict)
    """Kind (connect, read, write, timeout, status) to how many; kinds that did not occur
    are left out."""


class RunningLoad(Protocol):
    """A client that sends requests, wherever it runs."""

    def stop(self) -> LoadResult:
        """Stop it and read its result.

        Raises:
            LocalityError: It did not last, or got no answer.
        """


@dataclass(frozen=True)
class Load:
    """A running wrk."""

    process: Process

    def stop(self) -> LoadResult:
        """Stop it and read its result.

        Raises:
            LocalityError: It had ended before, or printed no result, or got no answer.
        """
        self.process.check()
        # On SIGINT wrk stops early and prints the figures of the time it ran.
        if not self.process.end(signal.SIGINT, STOP_S):
            raise failure(self.process.argv, "", None)
        result = parse(self.process.printed())
        if result.requests == 0:
            raise LocalityError(f"{shlex.join(self.process.argv)}: no request was answered")
        return result


@contextmanager
def run_load(
    client: Namespace,
    url: str,
    threads: int,
    *,
    keep_alive: bool = False,
    connections: int = CONNECTIONS,
) -> Iterator[Load]:
    """Send requests as fast as they are answered, until stopped or the block ends.

    Args:
        client: Where it runs.
        url: What it asks for.
        threads: How many threads share the connections.
        keep_alive: Send requests over a connection until the server closes it. Otherwise each
            request has `Connection: close`, so each is one accept().
        connections: How many are open at the same time.
    """
    argv = ("wrk", f"-t{threads}", f"-c{connections}", f"-d{LONGEST}")
    closing = () if keep_alive else ("-H", "Connection: close")
    with client.start(*argv, *closing, url) as process:
        yield Load(process)


def parse(text: str) -> LoadResult:
    """Read what wrk printed at its end.

    Args:
        text: Its output; wrk 4.

    Raises:
        LocalityError: There is no result in it; carries its last line.
    """
    requests = _REQUESTS.search(text)
    per_second = _PER_SECOND.search(text)
    if requests is None or per_second is None:
        last = text.strip().rpartition("\n")[2].strip() or "nothing"
        raise LocalityError(f"wrk printed no result, but: {last}")
    counts: dict[str, int] = {}
    if sockets := _SOCKET_ERRORS.search(text):
        counts.update(
            zip(("connect", "read", "write", "timeout"), map(int, sockets.groups()), strict=True)
        )
    if status := _BAD_STATUS.search(text):
        counts["status"] = int(status[1])
    return LoadResult(
        requests=int(requests[1]),
        requests_per_second=float(per_second[1]),
        errors={kind: count for kind, count in counts.items() if count},
    )
