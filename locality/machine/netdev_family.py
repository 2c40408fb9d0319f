"""Which interrupt serves which queue, as the kernel's netdev family says it.

Generic netlink, Linux 6.8 and later: Documentation/netlink/specs/netdev.yaml. A queue has a
NAPI instance (queue-get), and that has an interrupt (napi-get). Only drivers that tell the
kernel (netif_queue_set_napi, netif_napi_set_irq) show them here; few do.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from locality.machine import netlink

# enum netdev-cmd, queue-type, and the attribute sets of include/uapi/linux/netdev.h.
_QUEUE_GET, _NAPI_GET = 10, 11
_RX, _TX = 0, 1
_QUEUE_ID, _QUEUE_IFINDEX, _QUEUE_TYPE, _QUEUE_NAPI_ID = 1, 2, 3, 4
_NAPI_ID, _NAPI_IRQ = 2, 3

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


def read_queue_irqs() -> dict[int, QueueIrqs]:
    """The interrupts of the queues of this network namespace's devices, by ifindex.

    Returns:
        Nothing where the kernel has no such family.

    Raises:
        OSError: The kernel refuses generic netlink.
    """
    try:
        queues = netlink.generic("netdev", _QUEUE_GET)
        napis = netlink.generic("netdev", _NAPI_GET)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return {}
        raise
    number = netlink.number
    irqs = {number(napi.get(_NAPI_ID)): number(napi.get(_NAPI_IRQ)) for napi in napis}
    found: dict[int, dict[tuple[int, int], int | None]] = {}
    for queue in queues:
        device, kind, place = map(number, map(queue.get, (_QUEUE_IFINDEX, _QUEUE_TYPE, _QUEUE_ID)))
        if device is not None and kind is not None and place is not None:
            irq = irqs.get(number(queue.get(_QUEUE_NAPI_ID)))
            found.setdefault(device, {})[kind, place] = irq
    return {
        index: QueueIrqs(_in_order(told, _RX), _in_order(told, _TX))
        for index, told in found.items()
    }


def _in_order(told: dict[tuple[int, int], int | None], kind: int) -> tuple[int | None, ...]:
    count = sum(queue_kind == kind for queue_kind, _ in told)
    return tuple(told.get((kind, queue)) for queue in range(count))
