"""The checkout that tests, benchmarks and generated pages are of."""

from __future__ import annotations

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def commit(checkout: Path = CHECKOUT) -> str:
    """The commit that is checked out, for a page of what was measured.

    Args:
        checkout: Its directory.

    Returns:
        A short hash, and what keeps it from being the whole truth: files that were changed since.
        Documents do not count, for a run that writes several pages changes them. Without git, "?".
    """
    git = ("git", "-C", str(checkout))
    try:
        name = _output(*git, "rev-parse", "--short", "HEAD")
        changed = _output(*git, "status", "--porcelain", "--", ":/", ":(top,exclude)docs")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "?"
    return f"{name}, with changes that are not committed" if changed else name


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
