"""Numbers as the kernel writes them and as users are asked to: ASCII digits, nothing else.

Python's int() takes more: the digits of every script, blanks, signs, and underscores between
digits. What was meant by those is a guess, and a guess must not choose a CPU, a port or a process.
"""

from __future__ import annotations

import re

#: No number of the kernel's is longer: 2^64 has 20 digits.
MOST_DIGITS = 20

_WHOLE = re.compile(rf"[0-9]{{1,{MOST_DIGITS}}}")
_DECIMAL = re.compile(r"-?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][-+]?[0-9]{1,4})?")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")
_BINARY = re.compile(r"[01]+")


def whole(text: str, *, signed: bool = False) -> int:
    """A whole number; ValueError if the text is none.

    Args:
        text: All of it is the number.
        signed: It may be negative.
    """
    if not _WHOLE.fullmatch(text.removeprefix("-") if signed else text):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def decimal(text: str) -> float:
    """A number such as ``0.5`` or ``1e-3``; ValueError if the text is none."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is no number")
    return float(text)


def hexadecimal(text: str) -> int:
    """A number such as ``ff``; ValueError if the text is none."""
    if not _HEXADECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is no hexadecimal number")
    return int(text, 16)


def with_base(text: str) -> int:
    """A number such as ``128``, ``0x80`` or ``0b10000000``; ValueError if the text is none."""
    if text[:2] in {"0x", "0X"}:
        return hexadecimal(text[2:])
    if text[:2] in {"0b", "0B"} and _BINARY.fullmatch(text[2:]):
        return int(text, 0)
    return whole(text)
