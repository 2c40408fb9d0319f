"""Changes of the kernel's settings: a new content for a file, a new RSS indirection table."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from locality.changes.entry import queue, text
from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from typing import Self

    from locality.changes.entry import Entry
    from locality.changes.system import System, Table


@dataclass(frozen=True, slots=True)
class FileChange:
    """A new content for a file of the kernel: path, what it says now, what it is to say."""

    path: str
    old: str
    new: str

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""
        return f"echo {self.new} > {shlex.quote(self.path)}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand."""
        return f"echo {self.old.strip()} > {shlex.quote(self.path)}"

    def save(self, system: System) -> SavedFile:
        """What the file says now."""
        files, path = system.files, self.path
        return SavedFile(path, files.read(path), files.owner(path), files.arrives_on(path))

    def make(self, system: System) -> None:
        """Write the file."""
        system.files.write(self.path, self.new)


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file as it was.

    Attributes:
        path: The file.
        content: All of it.
        owner: What it belonged to; see `KernelFiles.owner`.
        arrived_on: For an interrupt's affinity: the CPU it arrived on, which a mask of
            many CPUs does not tell.
    """

    KEY: ClassVar = "path"

    path: str
    content: str
    owner: str
    arrived_on: str | None

    def __str__(self) -> str:
        return self.path

    def restore(self, system: System) -> bool:
        """Put it back, and say whether it had changed."""
        files = system.files
        if files.owner(self.path) != self.owner:
            now = printable(files.owner(self.path)) or "gone"
            raise LocalityError(
                f"belonged to {printable(self.owner)}, which is now {now}: not changed"
            )
        if (files.read(self.path), files.arrives_on(self.path)) == (self.content, self.arrived_on):
            return False
        if self.arrived_on is not None:
            files.write(self.path, self.arrived_on)
        files.write(self.path, self.content)
        if files.read(self.path) != self.content:
            raise LocalityError(
                f"written, but reading it back gives {printable(files.read(self.path).strip())}"
            )
        if self.arrived_on and (arrives := files.arrives_on(self.path)) != self.arrived_on:
            raise LocalityError(
                f"as it was, but the kernel lets the interrupt arrive on CPU {arrives}, before on "
                f"{printable(self.arrived_on)}"
            )
        return True

    def to_json(self) -> Entry:
        """Its members, as they are."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Entry) -> Self:
        """Read what `to_json` gave, with every type checked."""
        path, content, owner = (text(entry[name]) for name in ("path", "content", "owner"))
        arrived = entry["arrived_on"]
        return cls(path, content, owner, None if arrived is None else text(arrived))


@dataclass(frozen=True, slots=True)
class TableChange:
    """A new RSS indirection table for a device: every queue as often as the others."""

    device: str
    old: tuple[int, ...]
    queues: int

    @property
    def new(self) -> tuple[int, ...]:
        """The table, as the kernel's default is (ethtool_rxfh_indir_default)."""
        return tuple(index % self.queues for index in range(len(self.old)))

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""
        return f"ethtool -X {shlex.quote(self.device)} equal {self.queues}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand; ethtool takes no single entries, but weights come close."""
        weights = [self.old.count(queue) for queue in range(max(self.old) + 1)]
        return f"ethtool -X {shlex.quote(self.device)} weight {' '.join(map(str, weights))}"

    def save(self, system: System) -> SavedTable:
        """The table that is there now."""
        return SavedTable(self.device, system.read_table(self.device), _device(self.device, system))

    def make(self, system: System) -> None:
        """Set the table."""
        system.write_table(self.device, self.new)


@dataclass(frozen=True, slots=True)
class SavedTable:
    """An RSS indirection table as it was, and which device had it; see `KernelFiles.owner`."""

    KEY: ClassVar = "device"

    device: str
    table: Table
    owner: str

    def __str__(self) -> str:
        return f"RSS table of {self.device}"

    def restore(self, system: System) -> bool:
        """Put it back, and say whether it was another one."""
        if (now := _device(self.device, system)) != self.owner:
            raise LocalityError(
                f"the device of this name had the number {printable(self.owner)}, and has "
                f"{printable(now) or 'none'} now: not changed"
            )
        if system.read_table(self.device) == self.table:
            return False
        system.write_table(self.device, self.table)
        return True

    def to_json(self) -> Entry:
        """Its members, as they are."""
        return asdict(self)

    @classmethod
    def from_json(cls, entry: Entry) -> Self:
        """Read what `to_json` gave, with every type checked."""
        device, table = text(entry["device"]), tuple(map(queue, entry["table"]))
        return cls(device, table, text(entry["owner"]))


def _device(name: str, system: System) -> str:
    """What tells a device from another one of the same name."""
    return system.files.owner(f"/sys/class/net/{name}/")
