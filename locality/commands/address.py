"""Where to listen: a numeric address and a port."""

from __future__ import annotations

import ipaddress

from locality.commands.param_type import Read
from locality.machine.digits import whole

_MOST = 65535


class Address(Read[tuple[str, int]]):
    """``127.0.0.1:9817``, ``[::1]:9817``; names are not looked up."""

    name = "addr:port"

    def read(self, text: str) -> tuple[str, int]:
        """Read it."""
        try:
            return _parsed(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is no numeric address and port such as 127.0.0.1:9817 or [::1]:9817"
            ) from None


def _parsed(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    number = whole(port)
    if not 0 <= number <= _MOST or (":" in host) != host.startswith("["):
        raise ValueError(text)
    return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), number


ADDRESS = Address()
