"""A group of commands whose modules are imported when a command is wanted.

`locality accept` then does not pay for the options of the other commands; `--help`, which
names them all, does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from locality.commands.console import take

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(click.Group):
    """A group that also has commands of modules not imported yet.

    Args:
        modules: By command name, the module that defines the command. Its variable there
            is the name with underscores.
        attributes: As for every `click.Group`.
    """

    def __init__(self, *, modules: Mapping[str, str], **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(**attributes)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in order."""
        return sorted({*super().list_commands(ctx), *self._modules})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported if need be; None if there is none of this name."""
        if cmd_name not in self._modules:
            return super().get_command(ctx, cmd_name)
        module = import_module(self._modules[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        take(command)
        read_environment(command, "LOCALITY", cmd_name)
        return command


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
