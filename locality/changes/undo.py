"""The undo file: what was there before a change, and how to get back to it exactly.

It is JSON, written before the first change is made, so that a crash half-way can be
taken back too. Its text is data: only what a change may touch is touched, and only on the
boot and in the network namespace that it was made in.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locality.cbpf import Program
from locality.changes.kernel import FileChange, KernelFiles, TableChange
from locality.changes.server import GroupPlace, OldAffinity, OldProgram
from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from locality.changes.kernel import Change

VERSION = 1

Table = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file as it was.

    Attributes:
        path: The file.
        content: All of it.
        owner: What it belonged to; see `KernelFiles.owner`.
        arrived_on: For an interrupt's affinity: the CPU it arrived on, which a mask of
            many CPUs does not tell.
    """

    path: str
    content: str
    owner: str
    arrived_on: str | None

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class OldTable:
    """An RSS indirection table as it was."""

    device: str
    table: Table

    def __str__(self) -> str:
        return f"RSS table of {self.device}"


Old = OldFile | OldTable | OldProgram | OldAffinity


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
    from locality.machine.ethtool import (  # noqa: PLC0415 - half a second
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


def default_undo_file() -> Path:
    """A name with the time of day, in the current directory."""
    return Path(f"locality-undo-{datetime.now().astimezone():%Y%m%d-%H%M%S}.json")


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
            elif isinstance(change, TableChange):
                system.write_table(change.device, change.new)
            else:
                change.make()
        except (OSError, LocalityError) as error:
            failed.append(f"{change.command}: {_reason(error)}")
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
            elif not isinstance(old, OldTable):
                done += old.restore()
            elif system.read_table(old.device) != old.table:
                system.write_table(old.device, old.table)
                done += 1
        except (OSError, LocalityError) as error:
            failed.append(f"{printable(str(old))}: {_reason(error)}")
    return done, failed


def _reason(error: OSError | LocalityError) -> str:
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)


def _remember(change: Change, system: System) -> Old:
    try:
        if isinstance(change, TableChange):
            return OldTable(change.device, system.read_table(change.device))
        if not isinstance(change, FileChange):
            return change.remember()
        files, path = system.files, change.path
        return OldFile(path, files.read(path), files.owner(path), files.arrives_on(path))
    except (OSError, LocalityError) as error:
        raise LocalityError(f"nothing changed: {change.command}: {_reason(error)}") from error


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


def _write_undo_file(path: Path, old: Iterable[Old], system: System) -> None:
    document = {
        "locality_undo": VERSION,
        "boot": system.boot,
        "netns": system.netns,
        "before": [_fields(one) for one in old],
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


def _fields(old: Old) -> dict[str, Any]:
    """What `_entry` reads."""
    if isinstance(old, OldProgram):
        instructions = None if old.program is None else old.program.assemble().hex()
        return {**asdict(old.place), "instructions": instructions}
    if isinstance(old, OldAffinity):
        return {**asdict(old), "cpus": sorted(old.cpus)}
    return asdict(old)


def _read_undo_file(path: Path, system: System) -> list[Old]:
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
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise LocalityError(f"{path} is no undo file of locality") from error
    if boot != system.boot:
        raise LocalityError(f"{path} is from before the last restart, which undid it all")
    if netns != system.netns:
        raise LocalityError(
            f"{path} is of network namespace {printable(str(netns))}, this one is {system.netns}: "
            "run it there (nsenter, ip netns exec)"
        )
    return entries


def _entry(entry: dict[str, Any]) -> Old:
    """An entry, with every type checked: the file may have been written by anyone."""
    if "device" in entry:
        return OldTable(_text(entry["device"]), tuple(map(_queue, entry["table"])))
    if "tid" in entry:
        cpus = frozenset(map(_number, entry["cpus"]))
        return OldAffinity(_number(entry["tid"]), _number(entry["started"]), cpus)
    if "instructions" in entry:
        place = GroupPlace(
            None if entry["netns"] is None else _number(entry["netns"]),
            _text(entry["protocol"]),
            _text(entry["address"]),
            _number(entry["port"]),
            tuple(map(_number, entry["inodes"])),
        )
        text = entry["instructions"]
        program = None if text is None else Program.from_bytes(bytes.fromhex(_text(text)))
        return OldProgram(place, program)
    path, content, owner = (_text(entry[name]) for name in ("path", "content", "owner"))
    arrived = entry["arrived_on"]
    return OldFile(path, content, owner, None if arrived is None else _text(arrived))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(value)
    return value


def _queue(value: object) -> int:
    if (number := _number(value)) >= 1 << 16:
        raise TypeError(value)
    return number
