"""What every command takes: where its results go, and how it says what it says beside them.

The options are taken by `locality` and by each of its commands, and act at once.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from locality.text import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Callable


class Console:
    """How to speak on standard error.

    Attributes:
        quiet: Say only what went wrong.
        log_format: text, or json: one object a line.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.log_format = "text"

    def tell(self, line: str) -> None:
        """Something that is worth knowing beside the results."""
        if not self.quiet:
            self._say("info", printable(line))

    def complain(self, line: str) -> None:
        """Why the command failed."""
        # Names of files and the like come from outside, and so does what was typed.
        self._say("error", shortened(printable(line)))

    def _say(self, level: str, line: str) -> None:
        if self.log_format == "json":
            import json  # every command would pay for it

            said = {"time": round(time.time(), 3), "level": level, "message": line}
            click.echo(json.dumps(said), err=True)
        else:
            click.echo(f"locality: {line}", err=True)


CONSOLE = Console()


def _quiet(value: Any) -> None:  # noqa: ANN401 - of the option
    CONSOLE.quiet = bool(value)


def _log_format(value: Any) -> None:  # noqa: ANN401 - of the option
    CONSOLE.log_format = value


def _color(value: Any) -> None:  # noqa: ANN401 - of the option
    # Read by rich, which draws all that has colours.
    for name, choice in (("NO_COLOR", "never"), ("FORCE_COLOR", "always")):
        os.environ.pop(name, None)
        if value == choice:
            os.environ[name] = "1"


def _utc(value: Any) -> None:  # noqa: ANN401 - of the option
    if value:
        os.environ["TZ"] = "UTC"
        time.tzset()


def zone() -> str:
    """What to say of the clock of readable lines: nothing where local time is UTC."""
    now = time.localtime()
    return time.strftime("; times are %Z (UTC%z)", now) if now.tm_gmtoff else ""


def _output(value: Any) -> None:  # noqa: ANN401 - of the option
    from pathlib import Path  # --help would pay for it

    from locality.files import create

    value = Path(value)
    if value.is_file() and not value.is_symlink():
        name = printable(str(value))
        raise click.UsageError(f"--output {name}: it exists; remove it, or choose another name")
    descriptor = create(value)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.close(descriptor)


def console_options() -> list[click.Option]:
    """The options; each acts when it is read, and the command is not given it."""
    return [
        _option(
            _output,
            "--output",
            type=click.Path(),
            metavar="FILE",
            help="Write what goes to standard output to this new file.",
        ),
        _option(_quiet, "--quiet", is_flag=True, help="Print nothing but results and errors."),
        _option(
            _log_format,
            "--log-format",
            type=click.Choice(["text", "json"]),
            help="Choose the form of messages on standard error.  [default: text]",
        ),
        _option(
            _color,
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            help="Choose when to use colours; auto heeds NO_COLOR.  [default: auto]",
        ),
        _option(_utc, "--utc", is_flag=True, help="Print times in UTC, not in local time."),
    ]


def _option(
    act: Callable[[Any], None],
    name: str,
    **attributes: Any,  # noqa: ANN401 - of the option
) -> click.Option:
    def heed(_context: click.Context, _option: click.Parameter, value: object) -> None:
        if value not in {None, False}:
            act(value)

    return click.Option([name], expose_value=False, callback=heed, **attributes)


def take(command: click.Command) -> None:
    """Let a command take the options, too; its help leaves them to `locality --help`."""
    taken = {name for one in command.params for name in one.opts}
    for option in console_options():
        if taken.isdisjoint(option.opts):
            option.hidden = True
            command.params.append(option)
