"""Metrics in a file, for node_exporter's collector of text files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import generate_latest

from locality.errors import LocalityError
from locality.files import new_file, reason
from locality.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client import CollectorRegistry


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
