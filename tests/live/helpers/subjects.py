"""What live tests are about: their markers, which are the rows of the table of kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.accept import source as accept
from locality.skb import source as skb
from locality.udp import source as udp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from locality.bpf.ladder import Rung

#: Of subjects that are measured on each rung.
LADDERS: Mapping[str, Sequence[Rung]] = {
    "accept": accept.RUNGS,
    "skb_rx": skb.RUNGS,
    "skb_tx": skb.RUNGS,
    "udp": udp.RUNGS,
}
WITHOUT_RUNG = ("chosen", "agree", "attach")
SUBJECTS = (*LADDERS, *WITHOUT_RUNG)
