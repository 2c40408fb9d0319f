"""The smallest effect that was announced before a trial, and the one that it could have shown."""

from __future__ import annotations

import math

#: The two differ much by so many times; a reason counts from the root of that on.
MUCH = 2.0


def why_unlike(announced: float, as_many: float, could: float, units: str) -> str:
    """Why the two differ, in words; empty where they do not differ much.

    Args:
        announced: By the A/A part, of as many units as were planned; as it is worked out.
        as_many: The same of as many units as were used.
        could: What the units of the trial itself could show.
        units: What they are, in words.
    """
    far = could / announced
    if 1 / MUCH <= far <= MUCH:
        return ""
    more, enough = far > 1, math.sqrt(MUCH)
    # Each as times that it makes the smallest effect larger, or smaller.
    by_number, by_scatter = as_many / announced, could / as_many
    if not more:
        by_number, by_scatter = 1 / by_number, 1 / by_scatter
    reasons = []
    if by_number > enough:
        reasons.append(f"{'fewer' if more else 'more'} {units} were used than planned")
    if by_scatter > enough:
        way = "more" if more else "less"
        reasons.append(f"the {units} of the trial scattered {way} than those of the A/A part")
    return ", and ".join(reasons)
