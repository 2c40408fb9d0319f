"""Watches who sends, as long as that tells more about whose a socket is than who reads.

Where threads are chosen, most sockets are known by who reads from them. Only the others must be
seen sending, and a probe on each call that sends costs more than all else that the choice does.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from locality.errors import Unsupported
from locality.skb.interval import TX

if TYPE_CHECKING:
    from locality.bpf.object import Object
    from locality.skb.accounting import Difference, Figures

#: The program; see probes/skb_sides.h.
PROGRAM = "owner_sends"
#: One in so many is not worth the cost.
FEW = 100


class Senders:
    """The program that sees threads send, attached while it is worth its cost.

    It is detached after an interval in which it found nearly no socket that was not known, and
    attached for good after a later one in which too many sent packets were not told apart.

    Args:
        obj: Has the program attached.
    """

    def __init__(self, obj: Object) -> None:
        self._obj = obj
        self._attached, self._settled = True, False

    def follow(self, grown: Difference, figures: Figures) -> None:
        """Decide by what an interval has shown."""
        if self._settled:
            return
        if self._attached:
            sends, found = (int(grown.rows[name].sum()) for name in ("sends", "owners_found"))
            if found * FEW < sends:
                self._obj.detach([PROGRAM])
                self._attached = False
        elif figures.not_told[TX] * FEW > figures.tx.packets + figures.not_told[TX]:
            # Where it may not be attached again, what is not told apart is counted all the same.
            with suppress(Unsupported):
                self._obj.attach([PROGRAM])
            self._settled = True
