"""What only netlink and ethtool tell of a network device.

rtnetlink lists the devices; `netdev_family` knows which interrupt serves which queue, where the
kernel has it. The rest are commands of SIOCETHTOOL, as in linux/ethtool.h.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from locality.doctor.values import Unread
from locality.machine import netlink
from locality.machine.netdev_family import QueueIrqs, read_queue_irqs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

_SIOCETHTOOL = 0x8946
_ETHTOOL_GTSO = 0x1E
_ETHTOOL_GGRO = 0x2B
_ETHTOOL_GRXRINGS = 0x2D
_ETHTOOL_GRXFHINDIR = 0x38
_ETHTOOL_SRXFHINDIR = 0x39
_ETHTOOL_GCHANNELS = 0x3C
_NAME_SIZE = 16

_RTM_GETLINK = 18
# struct ifinfomsg: family, type, index, flags, mask of flags (linux/rtnetlink.h).
_IFINFOMSG = struct.Struct("=BxHiII")
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1

_NOT_THERE = {errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Channels:
    """Queues that a device has, and may have (ETHTOOL_GCHANNELS)."""

    rx: int
    combined: int
    max_rx: int
    max_combined: int


@dataclass(frozen=True, slots=True)
class Link:
    """A device as netlink and ethtool show it; None for what its driver does not offer.

    Attributes:
        index: Its ifindex.
        kind: "veth", "bridge" and so on; empty for a real device and for loopback.
        channels: Its queues.
        gro: Generic receive offload.
        tso: TCP segmentation offload.
        indirection: The RSS table: hash modulo its length to RX queue.
        rss_queues: How many RX queues the table can name; some cards have more than that.
        rx_irqs: The interrupt of each RX queue, from the kernel's netdev family; empty where it
            does not tell, and None for a queue of which the driver does not tell.
        tx_irqs: The same of each TX queue.
        unread: The calls that were refused.
    """

    index: int
    kind: str = ""
    channels: Channels | None = None
    gro: bool | None = None
    tso: bool | None = None
    indirection: tuple[int, ...] | None = None
    rss_queues: int | None = None
    rx_irqs: tuple[int | None, ...] = ()
    tx_irqs: tuple[int | None, ...] = ()
    unread: tuple[Unread, ...] = ()


def read_links() -> dict[str, Link]:
    """Every device of this process's network namespace, by name.

    Raises:
        OSError: The kernel refuses netlink altogether.
    """
    links = [
        _named(message)
        for message in netlink.dump(netlink.ROUTE, _RTM_GETLINK, bytes(_IFINFOMSG.size))
    ]
    irqs: Mapping[int, QueueIrqs] = {}
    refused: list[Unread] = []
    try:
        irqs = read_queue_irqs()
    except OSError as error:
        refused.append(Unread("netdev family (netlink)", os.strerror(error.errno or 0)))
    none = QueueIrqs((), ())
    found: dict[str, Link] = {}
    for name, index, kind in links:
        found[name] = _read_link(name, index, kind, irqs.get(index, none), refused)
        refused = []  # said once
    return found


def _named(message: bytes) -> tuple[str, int, str]:
    """Name, index and kind of a link."""
    index = _IFINFOMSG.unpack_from(message)[2]
    told = netlink.attributes(message, _IFINFOMSG.size)
    info = netlink.attributes(told.get(_IFLA_LINKINFO, b""))
    return (
        netlink.text(told[_IFLA_IFNAME]),
        index,
        netlink.text(info.get(_IFLA_INFO_KIND, b"")),
    )


def _read_link(
    name: str, index: int, kind: str, irqs: QueueIrqs, refused: Iterable[Unread]
) -> Link:
    unread = list(refused)

    def ask(call: str, answer: Callable[[], T]) -> T | None:
        try:
            return answer()
        except OSError as error:
            if error.errno not in _NOT_THERE:
                unread.append(Unread(f"{call} {name}", os.strerror(error.errno or 0)))
            return None

    indirection = ask("ETHTOOL_GRXFHINDIR", lambda: read_indirection(name))
    return Link(
        index,
        kind,
        ask("ETHTOOL_GCHANNELS", lambda: _read_channels(name)),
        ask("ETHTOOL_GGRO", lambda: _read_offload(name, _ETHTOOL_GGRO)),
        ask("ETHTOOL_GTSO", lambda: _read_offload(name, _ETHTOOL_GTSO)),
        indirection or None,
        ask("ETHTOOL_GRXRINGS", lambda: _read_rss_queues(name)),
        irqs.rx,
        irqs.tx,
        tuple(unread),
    )


def _read_channels(name: str) -> Channels:
    # struct ethtool_channels: cmd, then how many can be, then how many are, of rx, tx, other and
    # combined.
    words = array.array("I", (_ETHTOOL_GCHANNELS, *([0] * 8)))
    _ioctl(name, words)
    _, max_rx, _, _, max_combined, rx, _, _, combined = words
    return Channels(rx, combined, max_rx, max_combined)


def _read_offload(name: str, command: int) -> bool:
    # struct ethtool_value
    words = array.array("I", (command, 0))
    _ioctl(name, words)
    return bool(words[1])


def read_indirection(name: str) -> tuple[int, ...]:
    """The RSS indirection table of a device.

    Raises:
        OSError: EOPNOTSUPP if it has none.
    """
    # Asked with room for nothing, the kernel answers with the size (ethtool_get_rxfh_indir).
    words = array.array("I", (_ETHTOOL_GRXFHINDIR, 0))
    _ioctl(name, words)
    words.extend([0] * words[1])
    _ioctl(name, words)
    return tuple(words[2:])


def write_indirection(name: str, table: tuple[int, ...]) -> None:
    """Set the RSS indirection table of a device.

    Raises:
        OSError: The driver or the kernel refuses.
    """
    _ioctl(name, array.array("I", (_ETHTOOL_SRXFHINDIR, len(table), *table)))


def _read_rss_queues(name: str) -> int:
    # struct ethtool_rxnfc: the answer is its `data`, 64 bits after two words.
    words = array.array("I", (_ETHTOOL_GRXRINGS, *([0] * 63)))
    _ioctl(name, words)
    queues: int = struct.unpack_from("=Q", words, 8)[0]
    return queues


def _ioctl(name: str, words: array.array[int]) -> None:
    """Hand the kernel a command and room for its answer."""
    address, _ = words.buffer_info()
    if len(device := os.fsencode(name)) >= _NAME_SIZE:
        # Cut, it could be the name of another device.
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    request = struct.pack(f"{_NAME_SIZE}sP16x", device, address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
