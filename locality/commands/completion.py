"""What a shell offers when Tab is pressed behind an option.

The shell runs `locality` with ``_LOCALITY_COMPLETE`` set, as click's completion scripts do, and
reads the words. Nothing is attached and nobody is asked: what cannot be known is not offered.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from locality.commands.numbers import WholeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.shell_completion import CompletionItem

#: click's scripts set it: bash_source, zsh_source or fish_source for the script itself.
VARIABLE = "_LOCALITY_COMPLETE"


def asked(cli: click.Command) -> int | None:
    """Answer a shell that asks; the exit code, or None if none does."""
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, "locality", VARIABLE, instruction)


def _beginning(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _devices() -> list[str]:
    """The network devices of our network namespace."""
    import socket  # every command would pay for it

    with suppress(OSError):
        return sorted(name for _, name in socket.if_nameindex())
    return []


def words(
    *known: str, device: str = ""
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """What offers words of an option that also takes others.

    Args:
        known: The words.
        device: What comes before the name of a network device; empty if no device can come.
    """

    def offered(
        _context: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        named = [f"{device}{name}" for name in _devices()] if device else []
        return _beginning([*known, *named], incomplete)

    return offered


class Port(WholeRange):
    """A port; those that have a listener or a UDP socket here are offered."""

    def __init__(self) -> None:
        super().__init__(0, 65535)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - as in click
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The ports of our network namespace that are served."""
        from locality.reuseport.bound import bound_sockets
        from locality.reuseport.places import TABLES

        ports = {one.port for table in TABLES for one in bound_sockets(os.getpid(), table)}
        return _beginning(map(str, sorted(ports - {0})), incomplete)


class Device(click.types.StringParamType):
    """The name of a network device; whether there is one of this name is found out by using it."""

    name = "if"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - as in click
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The devices of our network namespace."""
        return _beginning(_devices(), incomplete)


class RungName(click.types.StringParamType):
    """A kind of probe; whether the command has it is found out by choosing it."""

    name = "name"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - as in click
        incomplete: str,
    ) -> list[CompletionItem]:
        """The rungs of the command."""
        from locality.kinds import KINDS

        kind = KINDS.get(ctx.info_name or "")
        with suppress(OSError):  # libbpf is not installed
            rungs = kind.rungs.get() if kind and kind.rungs else ()
            return _beginning((rung.name for rung in rungs), incomplete)
        return []
