"""Where the kernel's functions lie, from /proc/kallsyms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

KALLSYMS = Path("/proc/kallsyms")


def function_ranges(names: Collection[str], kallsyms: Path = KALLSYMS) -> list[tuple[int, int]]:
    """The address ranges [begin, end) of some functions of the kernel proper.

    A function that the compiler cloned or split (``name.isra.0``, ``name.cold``) has a range
    for each part. The file is in order of address, so a function ends where the next line
    begins. Functions that do not exist are left out, and so is everything when the kernel
    hides addresses (kptr_restrict).

    Args:
        names: The functions.
        kallsyms: The file to read.
    """
    alternatives = "|".join(map(re.escape, names)).encode()
    pattern = re.compile(
        rb"^([0-9a-f]+) [tTwW] (?:" + alternatives + rb")(?:\.\S+)?\n(?=([0-9a-f]+) )", re.MULTILINE
    )
    ranges = (
        (int(begin, 16), int(end, 16)) for begin, end in pattern.findall(kallsyms.read_bytes())
    )
    return [(begin, end) for begin, end in ranges if 0 < begin < end]
