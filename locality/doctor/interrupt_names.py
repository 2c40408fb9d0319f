"""Which queues an interrupt serves, by the name that its driver gave it.

A driver names an interrupt when it requests it (request_irq). The rules below are the names
found in drivers/net of the kernel. An interrupt that no rule names serves no queue, and where
the names leave a doubt, no queue is assigned at all: the reason is returned instead.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    Queues = Mapping[int, tuple[int, ...]]


class Named(NamedTuple):
    """What a name says: whether RX and TX queues are served, and the driver's number."""

    rx: bool
    tx: bool
    number: int


class Assigned(NamedTuple):
    """The queues of each interrupt.

    Attributes:
        rx: Interrupt number to the RX queues that it serves; empty if that is in doubt.
        tx: Interrupt number to the TX queues that it serves.
        doubt: Why `rx` is empty.
    """

    rx: Queues
    tx: Queues
    doubt: str = ""


class _Rule(NamedTuple):
    """Names of one form. `prefix` is the device's name, or what the driver has in its place."""

    form: re.Pattern[str]
    rx: bool
    tx: bool
    weak: bool = False
    """So short that it counts only after the device's own name, and where there is no other."""
    exact: bool = False
    """The number is the queue's own, so that there may be more interrupts than queues."""


def _rule(form: str, *, rx: bool, tx: bool, weak: bool = False, exact: bool = False) -> _Rule:
    return _Rule(re.compile(form, re.IGNORECASE), rx, tx, weak, exact)


_RULES = (
    # virtio_net: the name of the virtqueue.
    _rule(r"(?P<prefix>virtio\d+)-input\.(?P<n>\d+)", rx=True, tx=False, exact=True),
    _rule(r"(?P<prefix>virtio\d+)-output\.(?P<n>\d+)", rx=False, tx=True, exact=True),
    # mlx5_core; mana.
    _rule(r"(?P<prefix>mlx5_comp)(?P<n>\d+)", rx=True, tx=True),
    _rule(r"(?P<prefix>mana_q)(?P<n>\d+)", rx=True, tx=True),
    # igb, igc, ixgbe, ixgbevf, fm10k, i40e, iavf, ice, idpf, bnxt, hns3, xgbe, wx, fbnic: TxRx.
    # ena: Tx-Rx. alx: TxR. nfp, nicvf, otx2, vmxnet3, liquidio, enetc, tsnep: rxtx. tg3: txrx.
    _rule(r"(?P<prefix>.+)-(tx-?rx|rxtx|txr)-?(?P<n>\d+)", rx=True, tx=True),
    # bnx2x, qede. hinic3. netxen, qlcnic. myri10ge. ehea. cxgb4 of old.
    _rule(r"(?P<prefix>.+)-fp-(?P<n>\d+)", rx=True, tx=True),
    _rule(r"(?P<prefix>.+)_qp(?P<n>\d+)", rx=True, tx=True),
    _rule(r"(?P<prefix>.+)\[(?P<n>\d+)\]", rx=True, tx=True),
    _rule(r"(?P<prefix>.+):slice-(?P<n>\d+)", rx=True, tx=True),
    _rule(r"(?P<prefix>.+)-queue(?P<n>\d+)", rx=True, tx=True),
    _rule(r"(?P<prefix>.+) \(queue (?P<n>\d+)\)", rx=True, tx=True),
    # xen-netfront and xen-netback with two event channels a queue.
    _rule(r"(?P<prefix>.+)-q(?P<n>\d+)-rx", rx=True, tx=False),
    _rule(r"(?P<prefix>.+)-q(?P<n>\d+)-tx", rx=False, tx=True),
    # Separate vectors: e1000e, igb, tg3, bnxt, vmxnet3, enic, sfc, niu: -rx-0. stmmac: :rx-0.
    # cxgb4: -Rx0. ibmvnic, hns: -rx0. ionic: -L0-rx0. hinic: _rxq0. bna: " CQ 0".
    _rule(r"(?P<prefix>.+?)(-L\d+)?[-:]rx-?(?P<n>\d+)", rx=True, tx=False),
    _rule(r"(?P<prefix>.+?)(-L\d+)?[-:]tx-?(?P<n>\d+)", rx=False, tx=True),
    _rule(r"(?P<prefix>.+)_rxq(?P<n>\d+)", rx=True, tx=False),
    _rule(r"(?P<prefix>.+)_txq(?P<n>\d+)", rx=False, tx=True),
    _rule(r"(?P<prefix>.+) CQ (?P<n>\d+)", rx=True, tx=False),
    _rule(r"(?P<prefix>.+) TXQ (?P<n>\d+)", rx=False, tx=True),
    # be2net, octeon_ep, xen-netfront with one event channel a queue.
    _rule(r"(?P<prefix>.+)-q(?P<n>\d+)", rx=True, tx=True, weak=True),
    # mlx4_en, bnx2, sfc, cxgb3, cxgb4vf.
    _rule(r"(?P<prefix>.+)-(?P<n>\d+)", rx=True, tx=True, weak=True),
)
# virtio_net with fewer vectors than virtqueues: one interrupt for all of them (vp_find_vqs).
_ALL_QUEUES = re.compile(r"virtio\d+-virtqueues")
# What stands before the number of an interrupt that carries no packets, or none of a queue.
_NO_QUEUE = re.compile(
    r"async|config|control|ctrl|mgmn?t|event|fdir|misc|ptp|mbx|mailbox|aeq|ceq|admin|notify|cmd"
    r"|pages|health|lsc|ntfy|err|exn|aux|ofld|rdma|xdp|rbdr|wol|safety|other|unused"
)

#: So many names are shown where none tells anything.
_SHOWN = 4


def kind(name: str, device: str) -> Named | None:
    """What an interrupt's name says.

    >>> kind("virtio2-input.1", "eth0"), kind("mlx5_comp3@pci:0000:3b:00.0", "eth0")
    (Named(rx=True, tx=False, number=1), Named(rx=True, tx=True, number=3))
    >>> kind("virtio2-config", "eth0"), kind("eth0", "eth0"), kind("eth0-rbdr-0", "eth0")
    (None, None, None)
    """
    parsed = _parse(name, device)
    return parsed.named if parsed else None


def assign(
    names: Mapping[int, str], device: str, links: Collection[str], *, rx: int, tx: int
) -> Assigned:
    """The queues that each interrupt of a device serves.

    Args:
        names: Of interrupts that may be the device's own, as in /proc/interrupts: those who
            share one are separated by commas, and nobody has requested one without a name.
        device: The name of the device.
        links: The names of all devices that may have requested one of these interrupts.
        rx: How many RX queues the device has.
        tx: How many TX queues it has, or 0 if that is not known.
    """
    own = _own(names, device, links)
    shared = [irq for irq, name in own.items() if _ALL_QUEUES.fullmatch(name)]
    if len(shared) == 1:
        return _all_on(shared[0], rx, tx)
    parsed = {irq: told for irq, name in own.items() if (told := _parse(name, device))}
    if any(not told.rule.weak for told in parsed.values()):
        parsed = {irq: told for irq, told in parsed.items() if not told.rule.weak}
    if not parsed:
        if rx == 1 and len(own) == 1:  # one interrupt for all that the device has to say
            return _all_on(next(iter(own)), rx, tx)
        return Assigned({}, {}, f"their names do not tell: {_few(own) or 'none was seen'}")
    rx_queues, doubt = _in_order(parsed, "RX", rx)
    tx_queues, _ = _in_order(parsed, "TX", tx)
    return Assigned(rx_queues, tx_queues, doubt) if not doubt else Assigned({}, {}, doubt)


def owner(name: str, links: Iterable[str]) -> str | None:
    """The device whose name an interrupt's name contains.

    >>> owner("i40e-eth1-TxRx-0", ["eth1", "eth10"]), owner("eth10-rx-1", ["eth1", "eth10"])
    ('eth1', 'eth10')
    """
    contained = (
        link
        for link in links
        if link in name
        if re.search(rf"(?<![\w.]){re.escape(link)}(?![A-Za-z0-9.])", name)
    )
    return max(contained, key=len, default=None)


class _Parsed(NamedTuple):
    rule: _Rule
    named: Named
    prefix: str


def _own(names: Mapping[int, str], device: str, links: Collection[str]) -> dict[int, str]:
    """The interrupts that a device requested, with the name that it gave them.

    Ports of one card can share the card's interrupts: those named after another device are
    not ours, and if any is named after ours, those are all.
    """
    after_none: dict[int, str] = {}
    after_us: dict[int, str] = {}
    for irq, users in names.items():
        for name in filter(None, users.split(", ")):
            named_after = owner(name, links)
            if named_after == device:
                after_us[irq] = name
            elif named_after is None:
                after_none[irq] = name
    if any(_parse(name, device) for name in after_us.values()):
        return after_us
    return {**after_none, **after_us}


def _parse(name: str, device: str) -> _Parsed | None:
    text = name.partition("@")[0]
    for rule in _RULES:
        if (match := rule.form.fullmatch(text)) is None:
            continue
        prefix = match["prefix"]
        ours = prefix == device or prefix.endswith(f"-{device}")
        words = prefix.removesuffix(device) if ours else prefix
        if _NO_QUEUE.search(words.lower()) or (rule.weak and prefix != device):
            return None
        return _Parsed(rule, Named(rule.rx, rule.tx, int(match["n"])), prefix)
    return None


def _few(own: Mapping[int, str]) -> str:
    names = [name for _, name in sorted(own.items())]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _all_on(irq: int, rx: int, tx: int) -> Assigned:
    return Assigned({irq: tuple(range(rx))}, {irq: tuple(range(tx))})


def _in_order(parsed: Mapping[int, _Parsed], direction: str, queues: int) -> tuple[Queues, str]:
    """Interrupt to queue in one direction, or why that is in doubt.

    Drivers count from 0 or from 1, or number RX vectors after the TX vectors: the order of the
    numbers is what they agree on.
    """
    by_number: dict[int, list[int]] = defaultdict(list)
    serving = [
        (irq, told)
        for irq, told in parsed.items()
        if (told.named.rx if direction == "RX" else told.named.tx)
    ]
    for irq, told in serving:
        by_number[told.named.number].append(irq)
    twice = sorted(number for number, irqs in by_number.items() if len(irqs) > 1)
    if twice:
        irqs = ", ".join(map(str, sorted(by_number[twice[0]])))
        return {}, f"interrupts {irqs} both have the number {twice[0]} in their names"
    if len({told.prefix for _, told in serving}) > 1:
        return {}, "their names are those of several devices"
    queues = queues or len(by_number)
    exact = bool(serving) and all(told.rule.exact for _, told in serving)
    if exact and by_number.keys() >= set(range(queues)):
        return {by_number[queue][0]: (queue,) for queue in range(queues)}, ""
    numbers = sorted(by_number)
    if len(numbers) != queues:
        return (
            {},
            f"{len(numbers)} of them have the name of an {direction} queue, there are {queues}",
        )
    if numbers and numbers[-1] - numbers[0] + 1 != queues:
        listed = ", ".join(map(str, numbers))
        return {}, f"numbers are missing between those in their names: {listed}"
    return {by_number[number][0]: (queue,) for queue, number in enumerate(numbers)}, ""
