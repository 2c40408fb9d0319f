"""Metrics in a file, for node_exporter's collector of text files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from locality.errors import LocalityError
from locality.exporter import metrics
from locality.exporter.failures import Failures
from locality.files import new_file, reason
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from prometheus_client import CollectorRegistry, Metric


class TextFile:
    """The file of one run, which is written again and again.

    Args:
        path: See `write`.
        tell: Takes a line for the log.
        alone: Nothing else gives the metrics out, so the run ends with a write that fails.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], *, alone: bool) -> None:
        self._path = path
        self._told = Failures(tell)
        self._alone = alone
        self._failures = 0

    def write(self, registry: CollectorRegistry) -> None:
        """Write what the metrics are now. What keeps it from that is told once, and counted.

        Raises:
            LocalityError: It cannot be written, and nothing else gives the metrics out.
        """
        try:
            write(registry, self._path)
        except LocalityError as refusal:
            if self._alone:
                raise
            self._failures += 1
            self._told.failed("--textfile", refusal)
        else:
            self._told.worked("--textfile")

    def families(self, ports: metrics.PortLabels) -> Iterator[Metric]:
        """See `locality.exporter.collect.Part`."""
        del ports
        failures = metrics.WRITE_FAILURES.counter()
        failures.add_metric([], self._failures)
        yield failures


def write(registry: CollectorRegistry, path: Path) -> None:
    """Replace a file by what the metrics are now; who reads it sees the old ones, or the new ones.

    Everybody may read it, for node_exporter is another user.

    Args:
        registry: The metrics.
        path: Ends in ``.prom``. What lies there is replaced, and not written through if it is a
            link.

    Raises:
        LocalityError: It cannot be written.
    """
    text = generate_latest(registry)
    # node_exporter reads what ends in .prom alone. One that a crash left is of another process.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with new_file(unfinished, force=True) as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    try:
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise LocalityError(f"cannot write {printable(str(path))}: {reason(error)}") from None
