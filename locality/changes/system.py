"""What changes act on: the kernel's files, and the RSS indirection tables of devices."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Callable

Table = tuple[int, ...]

# What a change may write to, and so what an undo file may name.
_ALLOWED = re.compile(
    r"/proc/sys/net/core/(rps_sock_flow_entries|skb_defer_max)"
    r"|/proc/irq/\d+/smp_affinity_list"
    r"|/sys/class/net/(?!\.)[^/\s]+/queues/[rt]x-\d+/(rps_cpus|rps_flow_cnt|xps_cpus)"
)
_INTERRUPT = re.compile(r"/proc/irq/(\d+)/")
_DEVICE = re.compile(r"/sys/class/net/([^/]+)/")


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
            raise LocalityError(f"{path} is not a file that this command changes: not changed")
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

        Interrupt numbers and device names are given out anew. Of a device: the path of its
        directory will do.
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
