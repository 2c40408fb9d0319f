"""The undo file: what was there before a change, and how to get back to it exactly.

It is JSON, written before the first change is made, so that a crash half-way can be
taken back too. Its text is data: only files that a change may write to are written, and
only on the boot and in the network namespace that it was made in.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locality.doctor.changes import FileChange, KernelFiles, TableChange
from locality.errors import LocalityError
from locality.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from locality.doctor.changes import Change

VERSION = 1

Table = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file as it was.

    Attributes:
        path: The file.
        content: All of it.
        owner: What it belonged to; see `KernelFiles.owner`.
        arrived_on: For an interrupt's affinity: the CPU it arrived on. A wide mask alone
            would leave the interrupt where the change put it.
    """

    path: str
    content: str
    owner: str
    arrived_on: str | None


@dataclass(frozen=True, slots=True)
class OldTable:
    """An RSS indirection table as it was."""

    device: str
    table: Table


@dataclass(frozen=True)
class System:
    """What changes act on.

    Attributes:
        files: The kernel's files.
        read_table: The RSS indirection table of a device; OSError if there is none.
        write_table: Sets it.
        boot: Identifies this boot.
        netns: Identifies this network namespace.
    """

    files: KernelFiles
    read_table: Callable[[str], Table]
    write_table: Callable[[str, Table], None]
    boot: str
    netns: str


def this_system() -> System:
    """The running one."""
    from locality.doctor.ethtool import (  # noqa: PLC0415 - half a second
        read_indirection,
        write_indirection,
    )

    return System(
        KernelFiles(),
        read_indirection,
        write_indirection,
        Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip(),
        str(Path("/proc/self/ns/net").readlink()),
    )


def apply(changes: Sequence[Change], undo_file: Path, system: System) -> list[str]:
    """Make changes, after writing the file that takes them back.

    Returns:
        What could not be changed, a line each; the rest was.

    Raises:
        LocalityError: The undo file is there already or cannot be written, or what is to
            change cannot be read: then nothing was changed.
    """
    old = [_remember(change, system) for change in changes]
    _write_undo_file(undo_file, old, system)
    failed = []
    for change in changes:
        try:
            if isinstance(change, FileChange):
                system.files.write(change.path, change.new)
            else:
                system.write_table(change.device, change.new)
        except OSError as error:
            failed.append(f"{change.command}: {error.strerror}")
    return failed


def undo(undo_file: Path, system: System) -> tuple[int, list[str]]:
    """Put everything back as an undo file says, last change first.

    Returns:
        How many things were put back (what is as it was already is not counted), and
        what could not be, a line each.

    Raises:
        LocalityError: It is no undo file, or one of another boot or network namespace.
    """
    done, failed = 0, []
    for old in reversed(_read_undo_file(undo_file, system)):
        try:
            if isinstance(old, OldFile):
                done += _restore_file(old, system.files)
            elif system.read_table(old.device) != old.table:
                system.write_table(old.device, old.table)
                done += 1
        except (OSError, LocalityError) as error:
            subject = old.path if isinstance(old, OldFile) else f"RSS table of {old.device}"
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            failed.append(f"{printable(subject)}: {reason}")
    return done, failed


def _remember(change: Change, system: System) -> OldFile | OldTable:
    try:
        if isinstance(change, TableChange):
            return OldTable(change.device, system.read_table(change.device))
        files, path = system.files, change.path
        return OldFile(path, files.read(path), files.owner(path), files.arrives_on(path))
    except OSError as error:
        raise LocalityError(f"nothing changed: {change.command}: {error.strerror}") from error


def _restore_file(old: OldFile, files: KernelFiles) -> bool:
    """Put a file back; returns whether it had changed."""
    if files.owner(old.path) != old.owner:
        now = printable(files.owner(old.path)) or "gone"
        raise LocalityError(f"belonged to {printable(old.owner)}, which is now {now}: left alone")
    if (files.read(old.path), files.arrives_on(old.path)) == (old.content, old.arrived_on):
        return False
    if old.arrived_on is not None:
        files.write(old.path, old.arrived_on)
    files.write(old.path, old.content)
    if files.read(old.path) != old.content:
        raise LocalityError(f"written, but reads {printable(files.read(old.path).strip())}")
    if old.arrived_on and (arrives := files.arrives_on(old.path)) != old.arrived_on:
        raise LocalityError(
            f"as it was, but the kernel lets the interrupt arrive on CPU {arrives}, before on "
            f"{printable(old.arrived_on)}"
        )
    return True


def _write_undo_file(path: Path, old: Iterable[OldFile | OldTable], system: System) -> None:
    document = {
        "locality_undo": VERSION,
        "boot": system.boot,
        "netns": system.netns,
        "before": [asdict(one) for one in old],
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


def _read_undo_file(path: Path, system: System) -> list[OldFile | OldTable]:
    try:
        document = json.loads(path.read_bytes())
        if document["locality_undo"] != VERSION:
            raise LocalityError(
                f"{path} has version {document['locality_undo']!r} of the undo format, "
                f"this program knows {VERSION}"
            )
        boot, netns = document["boot"], document["netns"]
        entries = [_entry(entry) for entry in document["before"]]
    except OSError as error:
        raise LocalityError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LocalityError(f"{path} is no undo file of locality doctor") from error
    if boot != system.boot:
        raise LocalityError(f"{path} is from before the last restart, which undid it all")
    if netns != system.netns:
        raise LocalityError(
            f"{path} is of network namespace {printable(str(netns))}, this one is {system.netns}: "
            "run it there (nsenter, ip netns exec)"
        )
    return entries


def _entry(entry: dict[str, Any]) -> OldFile | OldTable:
    """An entry, with every type checked: the file may have been written by anyone."""
    if "device" in entry:
        old_table = OldTable(entry["device"], tuple(entry["table"]))
        if type(old_table.device) is not str or not all(
            type(queue) is int and 0 <= queue < 1 << 16 for queue in old_table.table
        ):
            raise TypeError(entry)
        return old_table
    if not all(type(text) is str for text in entry.values() if text is not None):
        raise TypeError(entry)
    return OldFile(entry["path"], entry["content"], entry["owner"], entry["arrived_on"])
