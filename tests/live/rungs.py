"""Which rungs of a measurement can be tested here.

A live test that takes a `rung` runs on each one that this kernel allows, or on the one that
LOCALITY_RUNG names, which then must work.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.accept import AcceptSource
    from locality.bpf.ladder import Footing, Rung
    from locality.skb import SkbSource

Source = Callable[..., "AcceptSource | SkbSource"]

ASKED = os.environ.get("LOCALITY_RUNG")


@cache
def why_not(source: Source, rung: str) -> LocalityError | None:
    """What this kernel says against a rung."""
    try:
        source(rung=rung).close()
    except LocalityError as error:
        return error
    return None


def parametrize(metafunc: pytest.Metafunc, source: Source, rungs: Sequence[Rung]) -> None:
    """Give a test that takes a `rung` those that work; all of them if none does, to fail."""
    if "rung" in metafunc.fixturenames:
        names = [rung.name for rung in rungs]
        works = [name for name in names if not ASKED and not why_not(source, name)]
        metafunc.parametrize("rung", [ASKED] if ASKED else works or names)


def stand_on(source: Source, name: str) -> None:
    """Stand on one rung for a moment, or skip with what the kernel says against it."""
    if ASKED and name != ASKED:
        pytest.skip(f"limitation: LOCALITY_RUNG asks for {ASKED} only")
    if isinstance(reason := why_not(source, name), Unsupported):
        pytest.skip(f"limitation: {reason}")
    with source(rung=name) as standing:
        assert standing.footing.rung.name == name


def check_ladder(footing: Footing, rungs: Sequence[Rung]) -> None:
    """Every better rung was tried, in order, and has a reason against it."""
    assert all(refusal.reason for refusal in footing.refused)
    if not ASKED:
        tried = [refusal.rung for refusal in footing.refused] + [footing.rung.name]
        assert tried == [rung.name for rung in rungs][: len(tried)]
