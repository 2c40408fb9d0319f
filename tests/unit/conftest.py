"""What unit tests share: how commands speak is set for one test and not for the next."""

from __future__ import annotations

import pytest

from locality.commands.console import CONSOLE


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what options such as --quiet do: they act when they are read."""
    for attribute, value in vars(CONSOLE).items():
        monkeypatch.setattr(CONSOLE, attribute, value)
