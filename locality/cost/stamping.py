"""Have the kernel stamp received packets with their time of receipt, as long as this is open.

It does so while any socket asks for it: SO_TIMESTAMPING with SOF_TIMESTAMPING_RX_SOFTWARE, see the
kernel's Documentation/networking/timestamping.rst. Packets of the whole machine get a stamp then.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from locality.errors import Unsupported

# include/uapi/asm-generic/socket.h, include/uapi/linux/net_tstamp.h
SO_TIMESTAMPING = 37
SOF_TIMESTAMPING_RX_SOFTWARE = 1 << 3
SOF_TIMESTAMPING_SOFTWARE = 1 << 4


class Stamping:
    """A socket that asks for stamps and receives nothing.

    Raises:
        Unsupported: The kernel refused.
    """

    def __init__(self) -> None:
        self._socket = _datagram_socket()
        try:
            flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
        except OSError as error:
            self._socket.close()
            raise Unsupported(
                f"the kernel refused to stamp packets (SO_TIMESTAMPING): {error.strerror}"
            ) from None

    def close(self) -> None:
        """Ask for no stamps any more."""
        self._socket.close()


def _datagram_socket() -> socket.socket:
    with suppress(OSError):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        return socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    except OSError as error:
        raise Unsupported(f"no socket can be opened that asks for stamps: {error}") from None
