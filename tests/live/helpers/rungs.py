"""Which rungs of a measurement can be tested here.

A live test that takes a `rung` runs on each one that this kernel allows, or on the one that
LOCALITY_RUNG names. Where that one, or all of them, cannot be had, it is skipped with what the
kernel says against it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Protocol

import pytest

from locality.errors import LocalityError, Unsupported
from locality.skb.source import SkbSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _pytest.mark.structures import ParameterSet

    from locality.accept.counts import AcceptCounts
    from locality.accept.source import AcceptSource
    from locality.bpf.ladder import Attachment, Rung
    from locality.connections.source import ConnectionSource
    from locality.skb.wanted import SkbFilter
    from locality.udp.reads import UdpReads
    from locality.udp.source import UdpSource

Source = Callable[
    ..., "AcceptCounts | AcceptSource | ConnectionSource | SkbSource | UdpReads | UdpSource"
]


class Closing(Protocol):
    """A source, of which a moment is enough."""

    def close(self) -> None:
        """Detach its probes."""


#: What kernels before 5.12 say against the probe of `locality udp`.
NO_ATOMICS = "BPF_STX uses reserved fields"
#: What 6.1 says against filters of packets where functions are hooked.
NO_PLACE_OF_FREES = "does not show where it frees"

ASKED = os.environ.get("LOCALITY_RUNG") or None


@cache
def why_not(source: Source, rung: str) -> LocalityError | None:
    """What this kernel says against a rung."""
    try:
        source(rung=rung).close()
    except LocalityError as error:
        return error
    return None


def limitation(source: Source, rungs: Sequence[Rung], name: str) -> str | None:
    """Why a measurement cannot stand on a rung here; None if it can, or fails."""
    if name not in {rung.name for rung in rungs}:
        return f"there is no rung {name!r} for this measurement"
    reason = why_not(source, name)
    # The kernel's answer alone: the rung and the measurement are known to who asks.
    return str(reason).rpartition(f"{name}: ")[2] if isinstance(reason, Unsupported) else None


def to_stand_on(rungs: Sequence[Rung]) -> list[str]:
    """The names on a ladder, or just the one that is asked for."""
    return [ASKED] if ASKED else [rung.name for rung in rungs]


def parametrize(metafunc: pytest.Metafunc, source: Source, rungs: Sequence[Rung]) -> None:
    """Give a test that takes a `rung` those that work; all of them if none does, to say why."""
    if "rung" in metafunc.fixturenames:
        names = to_stand_on(rungs)
        works = [name for name in names if not why_not(source, name)]
        metafunc.parametrize("rung", works or [_refused(source, rungs, name) for name in names])


def _refused(source: Source, rungs: Sequence[Rung], name: str) -> ParameterSet:
    """A rung on which a test is skipped, or fails if it is no limitation of the kernel."""
    reason = limitation(source, rungs, name)
    marks = [pytest.mark.skip(reason=f"limitation: {reason}")] if reason else []
    return pytest.param(name, marks=marks)


def stand_on(source: Source, rungs: Sequence[Rung], name: str) -> None:
    """Stand on one rung for a moment, or skip with what the kernel says against it."""
    if reason := limitation(source, rungs, name):
        pytest.skip(f"limitation: {reason}")
    with source(rung=name) as standing:
        assert standing.attachment.rung.name == name


def skip_without_atomics(source: Callable[[], Closing]) -> None:
    """Skip where a probe cannot number its rows: before 5.12, no atomic tells what was there."""
    try:
        source().close()
    except Unsupported as refusal:
        if NO_ATOMICS not in str(refusal):
            raise
        pytest.skip(f"limitation: {refusal}")


def open_skb(rung: str, wanted: SkbFilter) -> SkbSource:
    """A source of chosen packets, or a skip where this kernel cannot tell whose a packet is."""
    try:
        return SkbSource(rung=rung, wanted=wanted)
    except Unsupported as refusal:
        if NO_PLACE_OF_FREES not in str(refusal):
            raise
        pytest.skip(f"limitation: {refusal}")


def check_ladder(attachment: Attachment, rungs: Sequence[Rung]) -> None:
    """Every better rung was tried, in order, and has a reason against it."""
    assert all(refusal.reason for refusal in attachment.refused)
    if not ASKED:
        tried = [refusal.rung for refusal in attachment.refused] + [attachment.rung.name]
        assert tried == [rung.name for rung in rungs][: len(tried)]
