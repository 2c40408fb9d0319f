"""The undo file: what was there before a change, as JSON.

It is written before the first change is made, so that a crash half-way can be taken back
too. Its text is data: only what a change may touch is touched, and only on the boot and in
the network namespace that it was made in.
"""

from __future__ import annotations

import json
import os
import struct
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from locality.changes.kernel import SavedFile, SavedTable
from locality.changes.server import SavedAffinity, SavedProgram
from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.changes.entry import Entry
    from locality.changes.protocol import Saved
    from locality.changes.system import System

VERSION = 1

#: What an entry may be: the first whose `KEY` it has.
SAVED: tuple[type[Saved], ...] = (SavedTable, SavedAffinity, SavedProgram, SavedFile)


def default_undo_file() -> Path:
    """A name with the time of day, in the current directory."""
    return Path(f"locality-undo-{datetime.now().astimezone():%Y%m%d-%H%M%S}.json")


def write(path: Path, saved: Iterable[Saved], system: System) -> None:
    """Write an undo file, and have it on the disk before this returns.

    Raises:
        LocalityError: It is there already, or cannot be written.
    """
    document = {
        "locality_undo": VERSION,
        "boot": system.boot,
        "netns": system.netns,
        "before": [state.to_json() for state in saved],
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            json.dump(document, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise LocalityError(f"nothing changed: undo file {path}: {error.strerror}") from error


def read(path: Path, system: System) -> list[Saved]:
    """Read an undo file of this boot and network namespace, in the order of the changes.

    Raises:
        LocalityError: It is no undo file, or one of another boot or network namespace.
    """
    try:
        document = json.loads(path.read_bytes())
        if document["locality_undo"] != VERSION:
            raise LocalityError(
                f"{path} has version {document['locality_undo']!r} of the undo format, "
                f"this program knows {VERSION}"
            )
        boot, netns = document["boot"], document["netns"]
        saved = [_from_json(entry) for entry in document["before"]]
    except OSError as error:
        raise LocalityError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise LocalityError(f"{path} is no undo file of locality") from error
    if boot != system.boot:
        raise LocalityError(f"{path} is from before the last restart, which undid it all")
    if netns != system.netns:
        raise LocalityError(
            f"{path} is of network namespace {printable(str(netns))}, this one is {system.netns}: "
            "run it there (nsenter, ip netns exec)"
        )
    return saved


def _from_json(entry: Entry) -> Saved:
    for kind in SAVED:
        if kind.KEY in entry:
            return kind.from_json(entry)
    raise KeyError([kind.KEY for kind in SAVED])
