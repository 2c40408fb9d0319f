"""The undo file: what was there before a change, as JSON.

It is written before the first change is made, so that a crash half-way can be taken back
too. Its text is data: only what a change may touch is touched, and only on the boot and in
the network namespace that it was made in.
"""

from __future__ import annotations

import json
import os
import shlex
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from locality.changes.kernel import SavedFile, SavedTable
from locality.changes.server import SavedAffinity, SavedProgram
from locality.errors import LocalityError
from locality.text import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locality.changes.entry import Entry
    from locality.changes.protocol import Saved
    from locality.changes.system import System

VERSION = 1

#: What an entry may be: the first whose `KEY` it has.
SAVED: tuple[type[Saved], ...] = (SavedTable, SavedAffinity, SavedProgram, SavedFile)


#: A file of so many bytes is none of ours: a change takes some hundreds.
LARGEST = 1 << 24


@dataclass(frozen=True, slots=True)
class WrongEntry:
    """An entry that says nothing that can be put back; the others can.

    Attributes:
        place: Its number in the file, from 1.
        about: What it seems to be about; empty if that cannot be told.
        wrong: What is wrong with it.
    """

    place: int
    about: str
    wrong: str

    def __str__(self) -> str:
        return f"entry {self.place}{f' ({self.about})' * bool(self.about)}"

    def restore(self, _system: System, /) -> bool:
        """Say why it cannot be put back."""
        raise LocalityError(self.wrong)


def undo_command(file: Path) -> str:
    """What reverts the changes that are in a file, for a shell."""
    return f"locality undo {shlex.quote(str(file))}"


def default_undo_file() -> Path:
    """A name with the time of day, in the current directory."""
    return Path(f"locality-undo-{datetime.now().astimezone():%Y%m%d-%H%M%S}.json")


def write(path: Path, saved: Iterable[Saved], system: System) -> None:
    """Write an undo file, and have it on the disk before this returns.

    Raises:
        LocalityError: It is there already, or cannot be written; nothing is left of it then.
    """
    document = {
        "locality_undo": VERSION,
        "boot": system.boot,
        "netns": system.netns,
        "before": [state.to_json() for state in saved],
    }
    try:
        descriptor = _create(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            json.dump(document, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(descriptor)
    except BaseException as error:
        path.unlink(missing_ok=True)  # half of one would be in the way of the next
        if isinstance(error, OSError):
            raise _cannot_be_written(path, error) from error
        raise


def require_place(path: Path) -> None:
    """Make sure that an undo file can be made there, before what takes long is begun.

    Raises:
        LocalityError: It is there already, or cannot be made.
    """
    try:
        os.close(_create(path))
        path.unlink()
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def _create(path: Path) -> int:
    """A descriptor of a new file that only its owner may read."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _cannot_be_written(path: Path, error: OSError) -> LocalityError:
    name = printable(str(path))
    return LocalityError(
        f"nothing changed: cannot write the undo file {name}: {error.strerror}; "
        "choose another place with --undo-file FILE"
    )


def read(path: Path, system: System) -> list[Saved | WrongEntry]:
    """Read an undo file of this boot and network namespace, in the order of the changes.

    An entry that is not as we write them is among them, as what it is.

    Raises:
        LocalityError: It is no undo file, or one of another boot or network namespace.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise LocalityError(f"{path} is no undo file of locality: it is too large")
        document = json.loads(text)
        if document["locality_undo"] != VERSION:
            raise LocalityError(
                f"{path} has version {document['locality_undo']!r} of the undo format, "
                f"this program knows {VERSION}"
            )
        boot, netns = document["boot"], document["netns"]
        saved = [_read_entry(place, entry) for place, entry in enumerate(_all(document), 1)]
    except OSError as error:
        raise LocalityError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LocalityError(f"{path} is no undo file of locality") from error
    if boot != system.boot:
        raise LocalityError(f"{path} is from before the last reboot, which reverted everything")
    if netns != system.netns:
        raise LocalityError(
            f"{path} is of network namespace {printable(str(netns))}, this one is {system.netns}: "
            "run it there (nsenter, ip netns exec)"
        )
    return saved


def _all(document: Entry) -> list[object]:
    entries = document["before"]
    if not isinstance(entries, list):
        raise TypeError(entries)
    return entries


def _read_entry(place: int, entry: object) -> Saved | WrongEntry:
    """What an entry says was there; whatever is wrong with it."""
    if not isinstance(entry, dict):
        return WrongEntry(place, "", "it is no object with names and values")
    kind = next((kind for kind in SAVED if kind.KEY in entry), None)
    if kind is None:
        keys = ", ".join(kind.KEY for kind in SAVED)
        return WrongEntry(place, "", f"no known kind of change: it has none of {keys}")
    about = f"{kind.KEY} {shortened(printable(str(entry[kind.KEY])))}"
    try:
        return kind.from_json(entry)
    except KeyError as error:
        return WrongEntry(place, about, f"it has no {error.args[0]}")
    except TypeError as error:
        return WrongEntry(place, about, f"it has a wrong value: {shortened(printable(str(error)))}")
    except (ValueError, struct.error) as error:
        return WrongEntry(place, about, f"it cannot be read: {shortened(printable(str(error)))}")
