"""When one flow is most of a group's traffic: what that means, what helps, what it costs.

A hash of the addresses and ports sends all datagrams of one flow to one socket, so a group
can be no faster than that socket (two routers, a tunnel, one busy peer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.text import percent

if TYPE_CHECKING:
    from locality.udp.balance import Balance

#: From this share, in per cent, no distribution by flow can be even over two sockets.
CONCENTRATED = 50.0
#: Samples below which nothing is said.
ENOUGH_SAMPLES = 20
#: A group is well used when its effective number of sockets is this part of its size.
WELL_USED = 0.75


@dataclass(frozen=True)
class Cure:
    """One way to spread a single flow.

    Attributes:
        command: To type; IF stands for the device that receives.
        cost: What it costs.
    """

    command: str
    cost: str


def concentration(one: Balance) -> str | None:
    """The flow that carries most of the traffic, in words; None if there is none."""
    top = one.top_flow
    if top is None or top.of < ENOUGH_SAMPLES or top.share < CONCENTRATED:
        return None
    return f"one flow carries {percent(top.share)}: {top.source} -> {top.target}"


def meaning(one: Balance) -> str | None:
    """What the single flow means for this group; None where there is none, or no group."""
    if one.group is None or one.group.size < 2 or concentration(one) is None:  # noqa: PLR2004
        return None
    effective = one.effective
    if effective is None:
        return None
    if is_spread(one):
        return f"it is spread all the same: over {effective:.2f} of {one.group.size} sockets"
    return (
        "a choice by flow, such as the hash, sends all of it to one socket, however many "
        f"there are: here {effective:.2f} of {one.group.size} are in use"
    )


def is_spread(one: Balance) -> bool:
    """Whether the sockets share the work, whatever the flows are."""
    effective = one.effective
    return effective is not None and effective >= WELL_USED * len(one.sockets)


def cures(one: Balance) -> tuple[Cure, ...]:
    """What spreads the single flow of a group; nothing where that is not needed."""
    if meaning(one) is None or is_spread(one):
        return ()
    port = int(one.sockets["port"][0])
    return (
        Cure(
            f"locality attach-cbpf --port {port} --program random",
            "datagrams overtake each other, and any socket of the group must be able to serve "
            "any datagram",
        ),
        Cure(
            f"locality spread --dev IF --port {port}",
            "the same, and the receiver no longer sees the true source port",
        ),
    )
