"""Types and groups of options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A time one can wait for: not zero, not negative, not nan or infinite."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0.01, max=1e9)

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Refuse what compares false with every limit."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail("nan is not a time", param, ctx)
        return seconds


SECONDS = Seconds()
AT_LEAST_ONE = click.IntRange(min=1)
PORT = click.IntRange(0, 65535)
WRITABLE = click.Path(dir_okay=False, writable=True, path_type=Path)


def tracing_options(*formats: str) -> Callable[[C], C]:
    """The options that every tracing command has."""

    def add(command: C) -> C:
        for option in (
            click.option("--json", "format_", flag_value="json", help="Same as --format json."),
            click.option("--csv", "format_", flag_value="csv", help="Same as --format csv."),
            click.option(
                "--format",
                "format_",
                type=click.Choice(formats),
                default="text",
                show_default=True,
                help="classic: the lines of the 2017 scripts.",
            ),
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
        ):
            command = option(command)
        return command

    return add
