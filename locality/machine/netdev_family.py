"""Which interrupt serves which queue, as the kernel's netdev family says it.

Generic netlink, Linux 6.8 and later: Documentation/netlink/specs/netdev.yaml. A queue has a
NAPI instance (queue-get), and that has an interrupt (napi-get). Only drivers that tell the
kernel (netif_queue_set_napi, netif_napi_set_irq) show them here; few do.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

# enum netdev-cmd, queue-type, and the attribute sets of include/uapi/linux/netdev.h.
_QUEUE_GET, _NAPI_GET = 10, 11
_RX, _TX = 0, 1

#: What a kernel answers that has no such family, or no such command in it.
_NOT_THERE = {errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL}


class QueueIrqs(NamedTuple):
    """The interrupts of one device's queues.

    Attributes:
        rx: The interrupt number of each RX queue; None where the driver does not tell.
        tx: The same of each TX queue.
    """

    rx: tuple[int | None, ...]
    tx: tuple[int | None, ...]


class _Queue(genlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A message about a queue: attributes NETDEV_A_QUEUE_*."""

    nla_map = (
        ("NETDEV_A_QUEUE_UNSPEC", "none"),
        ("NETDEV_A_QUEUE_ID", "uint32"),
        ("NETDEV_A_QUEUE_IFINDEX", "uint32"),
        ("NETDEV_A_QUEUE_TYPE", "uint32"),
        ("NETDEV_A_QUEUE_NAPI_ID", "uint32"),
    )


class _Napi(genlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A message about a NAPI instance: attributes NETDEV_A_NAPI_*."""

    nla_map = (
        ("NETDEV_A_NAPI_UNSPEC", "none"),
        ("NETDEV_A_NAPI_IFINDEX", "uint32"),
        ("NETDEV_A_NAPI_ID", "uint32"),
        ("NETDEV_A_NAPI_IRQ", "uint32"),
    )


def read_queue_irqs() -> dict[int, QueueIrqs]:
    """The interrupts of the queues of this network namespace's devices, by ifindex.

    Returns:
        Nothing where the kernel has no such family.

    Raises:
        OSError: The kernel refuses generic netlink.
    """
    try:
        queues = list(_dump(_QUEUE_GET, _Queue))
        napis = list(_dump(_NAPI_GET, _Napi))
    except NetlinkError as error:
        if error.code in _NOT_THERE:
            return {}
        raise OSError(error.code, str(error)) from error
    irqs = {napi.get_attr("NETDEV_A_NAPI_ID"): napi.get_attr("NETDEV_A_NAPI_IRQ") for napi in napis}
    found: dict[int, dict[tuple[int, int], int | None]] = {}
    for queue in queues:
        place = queue.get_attr("NETDEV_A_QUEUE_TYPE"), queue.get_attr("NETDEV_A_QUEUE_ID")
        irq = irqs.get(queue.get_attr("NETDEV_A_QUEUE_NAPI_ID"))
        found.setdefault(queue.get_attr("NETDEV_A_QUEUE_IFINDEX"), {})[place] = irq
    return {
        index: QueueIrqs(_in_order(told, _RX), _in_order(told, _TX))
        for index, told in found.items()
    }


def _in_order(told: dict[tuple[int, int], int | None], kind: int) -> tuple[int | None, ...]:
    count = sum(queue_kind == kind for queue_kind, _ in told)
    return tuple(told.get((kind, queue)) for queue in range(count))


def _dump(command: int, message: type[genlmsg]) -> Iterator[Any]:
    """Ask for all objects of one kind. A family is bound to one kind of answer at a time."""
    with GenericNetlinkSocket() as netlink:
        netlink.bind("netdev", message)
        request = message()
        request["cmd"], request["version"] = command, 1
        yield from netlink.nlm_request(request, netlink.prid, NLM_F_REQUEST | NLM_F_DUMP)
