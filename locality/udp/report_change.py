"""What the report says of datagrams before and after: how evenly the sockets share them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.reporting.blocks import picture
from locality.reporting.page import Section, Table
from locality.text import percent
from locality.udp import figures as draw
from locality.udp.balance import balances, places_of, shares_of
from locality.udp.text import busiest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.arrays import Array
    from locality.reporting.blocks import Named
    from locality.udp.balance import Balance


def change_sections(before: Sequence[Named], after: Sequence[Named]) -> Iterator[Section]:
    """How evenly the busiest group that is in every recording was shared, before and after."""
    sides = {"before": before, "after": after}
    groups = [
        {
            one.name: one
            for one in busiest(balances(run.udp.total))
            if one.group and one.counts.any()
        }
        for _, run in (*before, *after)
        if run.udp.total is not None
    ]
    if len(groups) < len(before) + len(after):
        return
    name = next((name for name in groups[0] if all(name in of for of in groups)), None)
    if name is None:
        yield Section(
            "Before and after: shares of the sockets",
            ("No group got datagrams in every recording: shares of sockets are not compared.",),
        )
        return
    found = iter([of[name] for of in groups])
    by_side = {side: [next(found) for _ in runs] for side, runs in sides.items()}
    effective = {
        side: float(np.mean([one.effective or 0.0 for one in some]))
        for side, some in by_side.items()
    }
    several = " (means of the runs)" if max(len(before), len(after)) > 1 else ""
    words = ", ".join(
        f"{effective[side]:.2f} of {len(some[0].sockets)} {side}" for side, some in by_side.items()
    )
    longest = max(
        (one for some in by_side.values() for one in some), key=lambda one: len(one.sockets)
    )
    shares = {
        side: np.mean([_padded(shares_of(one), len(longest.sockets)) for one in some], axis=0)
        for side, some in by_side.items()
    }
    yield Section(
        f"Before and after: shares of the sockets of {name}",
        (
            f"{name}: effective sockets {words}{several}.",
            picture(
                "change-udp-shares",
                f"Share of each socket of {name}{several}.",
                draw.socket_shares(shares, places_of(longest)),
            ),
            _change_table(sides, by_side),
        ),
    )


def _padded(shares: Array, length: int) -> Array:
    return np.pad(shares, (0, length - len(shares)))


def _change_table(sides: dict[str, Sequence[Named]], by_side: dict[str, list[Balance]]) -> Table:
    rows = []
    for side, runs in sides.items():
        for (file, _), one in zip(runs, by_side[side], strict=True):
            shares = shares_of(one)
            top = one.top_flow
            rows.append(
                (
                    side,
                    file,
                    f"{int(one.counts.sum()):,}",
                    str(len(one.sockets)),
                    "-" if one.effective is None else f"{one.effective:.2f}",
                    "-" if one.imbalance is None else f"{one.imbalance:.2f}",
                    percent(float(shares.min())),
                    percent(float(shares.max())),
                    percent(None if top is None else top.share),
                )
            )
    heading = ("side", "file", "datagrams", "sockets", "effective", "max/mean")
    return Table((*heading, "smallest share", "largest share", "top flow"), tuple(rows))
