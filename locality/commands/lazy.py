"""A group of commands whose modules are imported when a command is wanted.

`locality accept` then does not pay for the options of the other commands, nor does `--help`, which
names them all: what it says of each is written beside the module's name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from locality.commands.console import take

if TYPE_CHECKING:
    from collections.abc import Mapping


class Lazy(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        module: Its module below `locality.commands`. The variable there is its name, with
            underscores.
        help: The first sentence of its help.
    """

    module: str
    help: str


class SuggestingGroup(click.Group):
    """A group that answers to a mistyped command with the one that is most like it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the arguments."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name)):
            import difflib  # every command would pay for it

            like = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            meant = f": did you mean {like[0]}?" if like else "."
            ctx.fail(f"No such command {name!r}{meant} '{ctx.command_path} --help' lists all.")
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """A group that also has commands of modules not imported yet.

    Args:
        lazy: By command name.
        attributes: As for every `click.Group`.
    """

    def __init__(self, *, lazy: Mapping[str, Lazy], **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(**attributes)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in order."""
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported if need be; None if there is none of this name."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"locality.commands.{self._lazy[cmd_name].module}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        take(command)
        read_environment(command, "LOCALITY", cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what `--help` says of each command, without importing any."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short_help(ctx, name, limit)) for name in names])

    def _short_help(self, ctx: click.Context, name: str, limit: int) -> str:
        lazy = self._lazy.get(name)
        command = click.Command(name, help=lazy.help) if lazy else self.get_command(ctx, name)
        return command.get_short_help_str(limit) if command else ""


def read_environment(command: click.Command, *prefix: str) -> None:
    """Let each option have its value from the environment: ``LOCALITY_ACCEPT_PORT``.

    click can do this by itself (``auto_envvar_prefix``), but by the names that options have in
    Python: LOCALITY_ACCEPT_FORMAT_.
    """
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            read_environment(inner, *prefix, name)
    for option in command.params:
        if not isinstance(option, click.Option) or option.is_eager or option.envvar is not None:
            continue
        # --json is short for --format json, which has a variable.
        if not option.is_flag or option.is_bool_flag:
            name = max(option.opts, key=len).lstrip("-")
            option.envvar = "_".join((*prefix, name)).replace("-", "_").upper()


def environment_variable(option: click.Option) -> str | None:
    """The variable that an option has its value from; None if there is none."""
    return option.envvar if isinstance(option.envvar, str) else None
