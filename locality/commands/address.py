"""Where to listen: a numeric address and a port."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from locality.commands.param_type import ParamType
from locality.machine.digits import whole

if TYPE_CHECKING:
    import click

_MOST = 65535


class Address(ParamType[tuple[str, int]]):
    """``127.0.0.1:9817``, ``[::1]:9817``; names are not looked up."""

    name = "addr:port"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as in click
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, int]:
        """Read it."""
        if isinstance(value, tuple):
            return value
        try:
            return _parsed(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is no numeric address and port such as 127.0.0.1:9817 or [::1]:9817",
                param,
                ctx,
            )


def _parsed(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    number = whole(port)
    if not 0 <= number <= _MOST or (":" in host) != host.startswith("["):
        raise ValueError(text)
    return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), number


ADDRESS = Address()
