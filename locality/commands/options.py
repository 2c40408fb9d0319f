"""Types and groups of options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click

from locality.commands.completion import RungName
from locality.commands.numbers import WholeRange
from locality.commands.values import AT_LEAST_ONE, BYTE, NAME, OUTPUT, PORT, SECONDS, WRITABLE

if TYPE_CHECKING:
    from pathlib import Path

C = TypeVar("C", bound=Callable[..., Any])


def _with(*options: Callable[[C], C]) -> Callable[[C], C]:
    def add(command: C) -> C:
        for option in options:
            command = option(command)
        return command

    return add


#: Which ports, processes and threads to look at; each command has its own help text.
ports_option = partial(click.option, "--port", "ports", type=PORT, metavar="PORT", multiple=True)
pids_option = partial(
    click.option, "--pid", "pids", type=AT_LEAST_ONE, metavar="PID", multiple=True
)
comm_option = partial(click.option, "--comm", type=NAME, metavar="NAME")


class Shown(NamedTuple):
    """How to print: the options of `shown_options`.

    Attributes:
        format: text, classic, json or csv.
        live: Draw a dashboard instead.
        svg: Keep its last picture there.
        lines: Print events as they come.
        summary: Print the summary, and what is said beside the results.
    """

    format: str
    live: bool
    svg: Path | None
    lines: bool = True
    summary: bool = True


class Traced(NamedTuple):
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


class FormatOption(click.Option):
    """``--format``, which may be given once: also as one of its short forms."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:  # noqa: ANN401 - as in click
        """Keep all that are given, and not the last one."""
        del ctx
        parser.add_option(obj=self, opts=self.opts, dest=self.name, action="append", nargs=1)

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:  # noqa: ANN401
        """The one that was given.

        Raises:
            click.UsageError: Several are given that differ.
        """
        value, source = super().consume_value(ctx, opts)
        if isinstance(value, list):
            first, *others = dict.fromkeys(value)
            if others and not ctx.resilient_parsing:
                raise click.UsageError(
                    f"--format {first} and --format {others[0]} are two outputs: choose one", ctx
                )
            value = first
        return value, source


class ShortForm(FormatOption):
    """A flag that stands for one value of another option: ``--json`` for ``--format json``."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:  # noqa: ANN401 - as in click
        """Keep it beside the values of the other option."""
        del ctx
        parser.add_option(
            obj=self,
            opts=self.opts,
            dest=self.name,
            action="append_const",
            const=self.flag_value,
        )

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - as in click
        """The other option's: click 8.1 would make up one for each flag."""
        (other,) = (
            param
            for param in ctx.command.params
            if param.name == self.name and not isinstance(param, ShortForm)
        )
        return other.get_default(ctx, call)


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
            click.option(
                f"--{name}",
                "format_",
                cls=ShortForm,
                flag_value=name,
                help=f"Short for --format {name}.",
            )
            for name in ("json", "csv")
        ]
        choice = click.option(
            "--format",
            "format_",
            cls=FormatOption,
            type=click.Choice(list(outputs)),
            default="text",
            show_default=True,
            help="Choose the output format."
            + " classic prints the lines of the 2017 scripts." * ("classic" in outputs),
        )
        return cast("C", _with(*live_options, *formats, choice)(call))

    return add


def json_options(text: str = "text", help_: str = "Choose the output format.") -> Callable[[C], C]:
    """How to print, where there is nothing but text and JSON.

    Args:
        text: What the readable format is called.
        help_: The help text of --format.
    """
    return _with(
        click.option(
            "--format",
            "format_",
            cls=FormatOption,
            type=click.Choice([text, "json"]),
            default=text,
            show_default=True,
            help=help_,
        ),
        click.option(
            "--json",
            "format_",
            cls=ShortForm,
            flag_value="json",
            help="Short for --format json.",
        ),
    )


#: How to draw.
live_options = (
    click.option("--svg", type=WRITABLE, help="With --live: save the last picture as SVG."),
    click.option("--live", is_flag=True, help="Draw a dashboard on the whole terminal."),
)

#: Replace files; each command says which.
force_option = partial(click.option, "--force", is_flag=True)

duration_option = click.option(
    "--duration", type=SECONDS, help="Stop after this time.  [default: no limit]"
)
interval_option = click.option(
    "--interval", type=SECONDS, default=1.0, show_default=True, help="Set the time between reports."
)
count_option = partial(click.option, "--count", type=AT_LEAST_ONE, metavar="N")


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
            force_option(help="Replace the file of --record if it exists."),
            click.option(
                "--record",
                type=OUTPUT,
                metavar="FILE",
                help="Also write a recording, for info, replay, export and report.",
            ),
            shown_options(outputs),
            click.option(
                "--rung",
                envvar="LOCALITY_RUNG",
                type=RungName(),
                metavar="NAME",
                help="Use this probe type (rung) or fail; 'locality check' lists them.  "
                "[default: the first that works]",
            ),
            click.option(
                "--ready-file", type=WRITABLE, help="Write this file once every probe is attached."
            ),
            duration_option,
        )
        return cast("C", options(call))

    return add


def less_options(what: str) -> Callable[[C], C]:
    """To print less, for a command with `tracing_options` whose lines are one an event.

    Args:
        what: One of its events, such as ``connection``.
    """

    def add(command: C) -> C:
        @wraps(command)
        def call(
            *args: Any,  # noqa: ANN401 - the command's own
            traced: Traced,
            only_summary: bool,
            quiet: bool,
            **rest: Any,  # noqa: ANN401 - the command's own
        ) -> Any:  # noqa: ANN401 - what the command returns
            if quiet and traced.record is None:
                raise click.UsageError("--no-output prints nothing: give --record FILE to keep it")
            for name, asked in (("--summary", only_summary), ("--no-output", quiet)):
                if asked and traced.shown.live:
                    raise click.UsageError(f"{name} and --live are two outputs: choose one")
                if asked and traced.shown.format != "text":
                    raise click.UsageError(
                        f"{name} prints no lines: it does not go with --format "
                        f"{traced.shown.format}"
                    )
            shown = traced.shown._replace(lines=not (only_summary or quiet), summary=not quiet)
            return command(*args, traced=traced._replace(shown=shown), **rest)

        options = _with(
            click.option(
                "--no-output",
                "quiet",
                is_flag=True,
                help="Print nothing but errors. For --record.",
            ),
            click.option(
                "--summary",
                "only_summary",
                is_flag=True,
                help=f"Print no line for each {what}, only the summary at the end.",
            ),
        )
        return cast("C", options(call))

    return add


engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", "core", "bcc"]),
    default="auto",
    show_default=True,
    envvar="LOCALITY_ENGINE",
    help="Choose how the probes are adapted to this kernel: core by its BTF, bcc by compiling "
    "them against its headers.",
)

#: What control traffic is, for a program that looks into the payload.
payload_options = _with(
    click.option(
        "--others",
        type=click.Choice(["random", "cpu", "hash"]),
        help="With --program payload: choose how other traffic is spread over index 1 and up. "
        "hash also uses index 0.  [default: random]",
    ),
    click.option(
        "--value",
        type=BYTE,
        help="With --program payload: the value that the masked byte must have.",
    ),
    click.option(
        "--mask", type=BYTE, help="With --program payload: a mask for that byte.  [default: 0xff]"
    ),
    click.option(
        "--payload-offset",
        type=WholeRange(min=0),
        metavar="N",
        help="With --program payload: the offset of the byte that marks control traffic. 0 is the "
        "first byte after the UDP header.",
    ),
)
