"""Failures of what is done again and again: the exporter survives them, and tells each once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Callable


class Failures:
    """What failed last, by what was tried.

    Args:
        tell: Takes a line for the log.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: dict[str, str] = {}

    def survive(self, tried: str, action: Callable[[], object]) -> bool:
        """Do something; whether it worked. Whatever it fails by is told, and ends nothing else."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next time may succeed
            self.failed(tried, error)
            return False
        self.worked(tried)
        return True

    def failed(self, tried: str, error: Exception) -> None:
        """Tell why something failed, unless that is what was told of it last.

        Args:
            tried: What failed, in words.
            error: Why; one that nobody expected is told with its type.
        """
        why = in_words(error)
        if isinstance(error, OSError) and error.filename is not None:
            why = f"{error.filename}: {why}"  # what was tried does not name it
        if self._told.get(tried) != why:
            self._told[tried] = why
            self._tell(f"{tried}: {why}")

    def worked(self, tried: str) -> None:
        """It worked: the next failure is told."""
        self._told.pop(tried, None)
