"""Text from outside is data.

A process may call itself anything of 15 bytes, escape sequences included. What goes to
a terminal or a file is made printable first, and nothing is ever taken for markup.
"""

from __future__ import annotations


def printable(raw: bytes | str) -> str:
    r"""Every character that is not printable becomes an escape such as ``\x1b``."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )
