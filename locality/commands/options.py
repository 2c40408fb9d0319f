"""Types and groups of options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

C = TypeVar("C", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number in a range; not nan, which compares false with both ends."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Refuse what compares false with every limit."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("nan is no number", param, ctx)
        return number


class CpuList(click.ParamType[frozenset[int]]):
    """CPUs as the kernel writes them: ``0-3,8``."""

    name = "list"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> frozenset[int]:
        """Read a list; an empty one is no answer."""
        from locality.machine.topology import parse_cpu_list

        try:
            cpus = frozenset(parse_cpu_list(str(value)))
        except ValueError:
            cpus = frozenset()
        if not cpus:
            self.fail(f"{value!r} is no list of CPUs such as 0-3,8", param, ctx)
        return cpus


class Byte(click.ParamType[int]):
    """A byte: ``128``, ``0x80`` or ``0b10000000``."""

    name = "byte"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Read a number as Python writes them."""
        try:
            number = int(str(value), 0)
        except ValueError:
            number = -1
        if not 0 <= number <= 0xFF:  # noqa: PLR2004 - a byte
            self.fail(f"{value!r} is no byte: 0 to 255, or 0x0 to 0xff", param, ctx)
        return number


#: A time one can wait for: not zero, not negative, not infinite.
SECONDS = Number(min=0.01, max=1e9)
SPEED = Number(min=0, max=1e6)
AT_LEAST_ONE = click.IntRange(min=1)
PORT = click.IntRange(0, 65535)
CPU_LIST = CpuList()
BYTE = Byte()
WRITABLE = click.Path(dir_okay=False, writable=True, path_type=Path)
#: Whether it can be read or written is found out by doing it.
READABLE = click.Path(path_type=Path)
OUTPUT = click.Path(path_type=Path)


def _with(*options: Callable[[C], C]) -> Callable[[C], C]:
    def add(command: C) -> C:
        for option in options:
            command = option(command)
        return command

    return add


#: Whom to look at; each command says of what.
ports_option = partial(click.option, "--port", "ports", type=PORT, multiple=True)
pids_option = partial(click.option, "--pid", "pids", type=AT_LEAST_ONE, multiple=True)
comm_option = partial(click.option, "--comm", metavar="NAME")


@dataclass(frozen=True)
class Shown:
    """How to print: the options of `shown_options`.

    Attributes:
        format: text, classic, json or csv.
        live: Draw a dashboard instead.
        svg: Keep its last picture there.
    """

    format: str
    live: bool
    svg: Path | None


@dataclass(frozen=True)
class Traced:
    """What every tracing command is asked for: the options of `tracing_options`.

    Attributes:
        shown: How to print.
        record: Record to this file.
        force: Replace it.
        rung: Use this kind of probe or fail.
        ready_file: Written once every probe is attached.
        duration: End after so many seconds.
    """

    shown: Shown
    record: Path | None
    force: bool
    rung: str | None
    ready_file: Path | None
    duration: float | None


def shown_options(outputs: Collection[str]) -> Callable[[C], C]:
    """How to print: the command is given one argument, ``shown``.

    Args:
        outputs: The formats.
    """

    def add(command: C) -> C:
        @wraps(command)
        def call(
            *args: Any,  # noqa: ANN401 - the command's own
            format_: str,
            live: bool,
            svg: Path | None,
            **rest: Any,  # noqa: ANN401 - the command's own
        ) -> Any:  # noqa: ANN401 - what the command returns
            return command(*args, shown=Shown(format_, live, svg), **rest)

        formats = [
            click.option(f"--{name}", "format_", flag_value=name, help=f"Same as --format {name}.")
            for name in ("json", "csv")
        ]
        choice = click.option(
            "--format",
            "format_",
            type=click.Choice(list(outputs)),
            default="text",
            show_default=True,
            help="classic: the lines of the 2017 scripts." if "classic" in outputs else None,
        )
        return cast("C", _with(*live_options, *formats, choice)(call))

    return add


def json_options(text: str = "text", help_: str | None = None) -> Callable[[C], C]:
    """How to print, where there is nothing but text and JSON.

    Args:
        text: What the readable format is called.
        help_: What JSON has.
    """
    return _with(
        click.option(
            "--format",
            "format_",
            type=click.Choice([text, "json"]),
            default=text,
            show_default=True,
            help=help_,
        ),
        click.option("--json", "format_", flag_value="json", help="Same as --format json."),
    )


#: How to draw.
live_options = (
    click.option("--svg", type=WRITABLE, help="With --live: keep its last picture."),
    click.option("--live", is_flag=True, help="Draw what happens now, on the whole terminal."),
)

force_option = click.option("--force", is_flag=True, help="Replace a file of that name.")


def tracing_options(outputs: Collection[str]) -> Callable[[C], C]:
    """The options that every tracing command has: it is given one argument, ``traced``.

    Args:
        outputs: The formats.
    """

    def add(command: C) -> C:
        @wraps(command)
        def call(
            *args: Any,  # noqa: ANN401 - the command's own
            shown: Shown,
            record: Path | None,
            force: bool,
            rung: str | None,
            ready_file: Path | None,
            duration: float | None,
            **rest: Any,  # noqa: ANN401 - the command's own
        ) -> Any:  # noqa: ANN401 - what the command returns
            traced = Traced(shown, record, force, rung, ready_file, duration)
            return command(*args, traced=traced, **rest)

        options = _with(
            force_option,
            click.option(
                "--record", type=OUTPUT, metavar="FILE", help="Record; see locality info."
            ),
            shown_options(outputs),
            click.option(
                "--rung",
                envvar="LOCALITY_RUNG",
                metavar="NAME",
                help="Kind of probe to use; see locality check. Default: the best allowed.",
            ),
            click.option(
                "--ready-file", type=WRITABLE, help="Written once every probe is attached."
            ),
            click.option("--duration", type=SECONDS, metavar="S", help="End after S seconds."),
        )
        return cast("C", options(call))

    return add


engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "core", "bcc"]),
    default="auto",
    show_default=True,
    envvar="LOCALITY_ENGINE",
    help="What fits the probes to this kernel. core: its BTF; bcc: its headers, where there is no "
    "BTF.",
)

#: What control traffic is, for a program that looks into the payload.
payload_options = _with(
    click.option(
        "--others",
        type=click.Choice(["random", "cpu", "hash"]),
        help="How the rest is spread; hash: over index 0 too.  [default: random]",
    ),
    click.option("--value", type=BYTE, help="… is this."),
    click.option("--mask", type=BYTE, help="… under this mask  [default: 0xff]"),
    click.option(
        "--payload-offset",
        type=click.IntRange(min=0),
        metavar="N",
        help="Control traffic is what has a byte N of its UDP payload that",
    ),
)
