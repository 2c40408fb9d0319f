"""Changes of the running system that can be taken back exactly.

A change is a new content for one file, a new RSS indirection table for one device, or one of
`server_changes`. What was there before goes into an undo file first; see `undo`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from locality.changes.server import AffinityChange, ProgramChange
from locality.errors import LocalityError

# What a change may write to, and so what an undo file may name.
_ALLOWED = re.compile(
    r"/proc/sys/net/core/[a-z0-9_]+"
    r"|/proc/irq/\d+/smp_affinity_list"
    r"|/sys/class/net/(?!\.)[^/\s]+/queues/[rt]x-\d+/(rps_cpus|rps_flow_cnt|xps_cpus)"
)
_INTERRUPT = re.compile(r"/proc/irq/(\d+)/")
_DEVICE = re.compile(r"/sys/class/net/([^/]+)/")


@dataclass(frozen=True, slots=True)
class FileChange:
    """A new content for a file of the kernel: path, what it says now, what it is to say."""

    path: str
    old: str
    new: str

    @property
    def command(self) -> str:
        """What makes the change by hand: a line for a shell."""
        return f"echo {self.new} > {self.path}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand."""
        return f"echo {self.old.strip()} > {self.path}"


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
        return f"ethtool -X {self.device} equal {self.queues}"

    @property
    def undo_command(self) -> str:
        """What takes it back by hand; ethtool takes no single entries, but weights come close."""
        weights = [self.old.count(queue) for queue in range(max(self.old) + 1)]
        return f"ethtool -X {self.device} weight {' '.join(map(str, weights))}"


Change = FileChange | TableChange | ProgramChange | AffinityChange


class KernelFiles:
    """The files of the kernel that a change may touch.

    Args:
        root: The root directory; another one in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def _place(self, path: str) -> Path:
        """Where a path really is.

        Raises:
            LocalityError: It is, or leads to, something that no change of ours writes to.
        """
        place = (self._root / path.lstrip("/")).resolve()
        inside = place.is_relative_to(self._root.resolve())
        # Names in /sys/class/net are links into /sys/devices; nothing else here is a link.
        real = f"/{place.relative_to(self._root.resolve())}" if inside else ""
        if not _ALLOWED.fullmatch(path) or not (
            real == path or (real.startswith("/sys/devices/") and path.startswith("/sys/"))
        ):
            raise LocalityError(f"{path} is no file that this command changes: left alone")
        return place

    def read(self, path: str) -> str:
        """Read a file; see `_place` for errors.

        Raises:
            OSError: It cannot be read.
        """
        return self._place(path).read_bytes().decode("ascii")

    def write(self, path: str, content: str) -> None:
        """Write a file in one call, as the kernel wants it; see `_place` for errors.

        Raises:
            OSError: It cannot be written, or the kernel refuses the content.
        """
        descriptor = os.open(self._place(path), os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        try:
            os.write(descriptor, content.encode("ascii"))
        finally:
            os.close(descriptor)

    def arrives_on(self, path: str) -> str | None:
        """Where the interrupt of an affinity file arrives now; None for another file."""
        if not _INTERRUPT.match(path):
            return None
        effective = self._place(path).with_name("effective_affinity_list")
        try:
            return effective.read_text("ascii").strip() or None
        except OSError:
            return None  # older kernels, other architectures

    def owner(self, path: str) -> str:
        """What a file belongs to, so that it is known when that is another thing by then.

        Interrupt numbers and device names are given out anew.
        """
        if match := _INTERRUPT.match(path):
            owner = f"/sys/kernel/irq/{match[1]}/actions"
        elif match := _DEVICE.match(path):
            owner = f"/sys/class/net/{match[1]}/ifindex"
        else:
            return ""
        try:
            return (self._root / owner.lstrip("/")).read_text("ascii", "replace").strip()
        except OSError:
            return ""
