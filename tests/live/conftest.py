"""What each live test is about, and on which rung it measures.

The subjects of a test are its markers. Subjects and rung are noted in its properties, from which
the table of kernels is made.
"""

from __future__ import annotations

import pytest

from tests.live.helpers.rungs import ASKED
from tests.live.helpers.subjects import LADDERS, SUBJECTS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note the subjects and the rung of each test."""
    known = {rung.name for rungs in LADDERS.values() for rung in rungs}
    if ASKED and ASKED not in known:
        raise pytest.UsageError(f"LOCALITY_RUNG={ASKED}: use one of {', '.join(sorted(known))}")
    for item in items:
        subjects = [name for name in SUBJECTS if item.get_closest_marker(name)]
        rung = _rung(item)
        # Such a test would run on no other kernel, or be in no row of the table, unnoticed.
        if rung and not subjects:
            raise pytest.UsageError(f"{item.nodeid} does not say what it measures: mark it")
        if LADDERS.keys() & subjects and not rung and "chosen" not in subjects:
            raise pytest.UsageError(f"{item.nodeid} does not say on which rung: let it take one")
        item.user_properties += [("subject", name) for name in subjects]
        if rung:
            item.user_properties.append(("rung", rung))


def _rung(item: pytest.Item) -> str | None:
    """The rung that a test measures on, or whose availability it tests."""
    if not hasattr(item, "callspec"):
        return None
    parameters: dict[str, str] = item.callspec.params
    return parameters.get("rung", parameters.get("rung_tried"))
