"""Reading files below a root, and keeping account of what could not be read."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from locality.errors import LocalityError
from locality.machine.digits import whole
from locality.machine.topology import parse_cpu_list, parse_cpu_mask
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")


class Value(NamedTuple):
    """What a file, or a call, answered.

    Attributes:
        source: The file's path on the machine, or the call.
        content: The answer; of a file all of it, line ends too.
    """

    source: str
    content: str

    @property
    def text(self) -> str:
        """The content without white space around it."""
        return self.content.strip()

    @property
    def number(self) -> int:
        """The content as a decimal number."""
        return self._parsed(partial(whole, signed=True))

    @property
    def cpu_list(self) -> tuple[int, ...]:
        """The CPUs of a list such as ``0-3,8``."""
        return tuple(self._parsed(parse_cpu_list))

    @property
    def cpu_mask(self) -> tuple[int, ...]:
        """The CPUs of a mask such as ``f,00000001``."""
        return tuple(self._parsed(parse_cpu_mask))

    def _parsed(self, parse: Callable[[str], T]) -> T:
        try:
            return parse(self.text)
        except ValueError as error:
            # A kernel writes none such, but /sys need not be the kernel's.
            raise LocalityError(f"{self.source}: {printable(str(error))}") from None


class Unread(NamedTuple):
    """What could not be read: the path or call, and why."""

    source: str
    reason: str


class Files:
    """Files below a root directory: the machine's own, or a tree captured from another.

    Attributes:
        unread: Every file that is there and could not be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.unread: list[Unread] = []

    def read(self, path: str) -> Value | None:
        """Read a file; None if there is none, or if it cannot be read.

        Args:
            path: Absolute, as seen on the machine.
        """
        try:
            return Value(path, (self._root / path.lstrip("/")).read_text("ascii", "replace"))
        except FileNotFoundError:
            # Also what sysfs answers for an attribute that this device does not have.
            return None
        except OSError as error:
            self.unread.append(Unread(path, error.strerror or str(error)))
            return None

    def names(self, path: str) -> list[str]:
        """The names in a directory; none if there is no such directory, or it is not ours."""
        directory = self._root / path.lstrip("/")
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                return sorted(entry.name for entry in directory.iterdir())
            except PermissionError as error:
                self.unread.append(Unread(path, error.strerror or str(error)))
        return []
