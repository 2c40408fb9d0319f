"""Waiting for what a test needs, and not for time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.live.helpers.traffic import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable


def until(condition: Callable[[], object], every_s: float = 0.01) -> None:
    """Wait until something is true.

    Args:
        condition: Says whether it is.
        every_s: How often to look.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every_s)
