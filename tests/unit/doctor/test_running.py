"""The checklist on the running machine, as far as it differs from one that was captured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.doctor import running
from locality.errors import LocalityError

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "/sys shows the devices of another network namespace"


# Bug: the device of a container that begins or ends while devices are read passes for the /sys of
# another network namespace, and ends the whole checklist.
@pytest.mark.parametrize("times", [1, 3])
def test_a_device_that_comes_or_goes_is_no_other_namespace(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def read(_root: Path, links: object, _only: str | None) -> list[object]:
        asked.append(links)
        if len(asked) <= times:
            raise LocalityError(OTHER)
        return asked

    monkeypatch.setattr(running, "read_links", lambda: {"read": len(asked)})
    monkeypatch.setattr(running, "read", read)
    if times == 1:
        running._read_machine(None)  # noqa: SLF001
        assert asked == [{"read": 0}, {"read": 1}]
    else:
        with pytest.raises(LocalityError, match=OTHER):
            running._read_machine(None)  # noqa: SLF001
        assert len(asked) == 3
