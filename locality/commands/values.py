"""What options take: numbers with a unit, names, lists, files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from locality.commands.completion import Device, Port
from locality.commands.numbers import Number, WholeRange
from locality.commands.param_type import Read
from locality.machine.digits import with_base

#: Of a thread's name as it can be given: 15 bytes, each of them escaped, and more as ps shows it.
LONGEST_NAME = 255

#: What listen() takes is cut to the sysctl net.core.somaxconn, which is a signed number.
MOST_QUEUED = 2**31 - 1


class CpuList(Read[frozenset[int]]):
    """CPUs as the kernel writes them: ``0-3,8``."""

    name = "list"

    def read(self, text: str) -> frozenset[int]:
        """Read a list; an empty one is no answer."""
        from locality.machine.topology import parse_cpu_list

        why = ""
        try:
            cpus = frozenset(parse_cpu_list(text))
        except ValueError as error:
            cpus, why = frozenset(), f" ({error})"
        if not cpus:
            raise ValueError(f"{text!r} is no list of CPUs such as 0-3,8{why}")
        return cpus


class Spill(Read[int | str]):
    """A number of connections, or ``auto``."""

    name = "n|auto"

    def read(self, text: str) -> int | str:
        """Read it."""
        return "auto" if text == "auto" else WholeRange(0, MOST_QUEUED).convert(text, None, None)


class Lengths(Read[tuple[int, ...]]):
    """Lengths of queues: ``3,0,1``."""

    name = "list"

    def read(self, text: str) -> tuple[int, ...]:
        """Read them."""
        length = WholeRange(0, MOST_QUEUED)
        return tuple(length.convert(one, None, None) for one in text.split(","))


class Name(Read[str]):
    """The name of a thread: the kernel keeps 15 bytes of it, ps shows more of some."""

    name = "name"

    def read(self, text: str) -> str:
        """Refuse what no thread is called."""
        if not 0 < len(text) <= LONGEST_NAME:
            raise ValueError(f"a name has 1 to {LONGEST_NAME} characters, not {len(text)}")
        return text


class Byte(Read[int]):
    """A byte: ``128``, ``0x80`` or ``0b10000000``."""

    name = "byte"

    def read(self, text: str) -> int:
        """Read a number in one of the three ways."""
        try:
            number = with_base(text)
        except ValueError:
            number = -1
        if not 0 <= number <= 0xFF:  # noqa: PLR2004 - a byte
            raise ValueError(f"{text!r} is no byte: 0 to 255, or 0x0 to 0xff")
        return number


class NewOutput(click.Path):
    """A file that is written after a measurement: its directory must be there before."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Refuse a file in no directory."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"there is no directory {path.parent}", param, ctx)
        return path


class NeededFile(click.Path):
    """A file that must be given; where it is not, the error says more than that.

    Args:
        missing: What to add to the error.
    """

    def __init__(self, missing: str) -> None:
        super().__init__(path_type=Path)
        self._missing = missing

    def get_missing_message(
        self,
        param: click.Parameter,
        ctx: click.Context | None = None,  # click 8.1 gives none
    ) -> str:
        """See `click.ParamType`."""
        del param, ctx
        return self._missing


#: A time one can wait for: not zero, not negative, not infinite.
SECONDS = Number(min=0.01, max=1e9, unit="seconds")
SPEED = Number(min=0, max=1e6, unit="factor")
AT_LEAST_ONE = WholeRange(min=1)
PORT = Port()
DEVICE = Device()
CPU_LIST = CpuList()
BYTE = Byte()
NAME = Name()
WRITABLE = click.Path(dir_okay=False, writable=True, path_type=Path)
#: Whether it can be read or written is found out by doing it.
READABLE = click.Path(path_type=Path)
OUTPUT = click.Path(path_type=Path)
NEW_OUTPUT = NewOutput(path_type=Path)
