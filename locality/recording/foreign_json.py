"""JSON in a recording: anybody may have written it, or changed it."""

from __future__ import annotations

import json
from typing import Any

#: What reading JSON that somebody else wrote may raise, where it is not what it should be.
NOT_OURS = (KeyError, TypeError, ValueError, OverflowError)


def parse_json(raw: bytes) -> Any:  # noqa: ANN401 - whatever is in it
    """JSON as the standard has it: without the infinities that Python's reader knows.

    Raises:
        ValueError: It is none, or is nested too deeply to be read.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        return json.loads(raw, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def whole_number(value: Any, least: int, most: int = (1 << 63) - 1) -> int:  # noqa: ANN401 - from JSON
    """A whole number in a range.

    Raises:
        ValueError: It is none, or outside.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(value)
    return value
