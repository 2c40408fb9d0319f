"""docs/generated/install.md: a row for each system, and each way to install there."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.checkout import commit
from tests.packages.chroots import SUITES

HEAD = """\
# Installed on bare systems

`make test-packages` wrote this page. It installs locality in each way of the
[guide on installing](../guides/install.md) on minimal Debian systems and checks there that it sees
23 of 23 connections. The size is that of the files on disk with all packages that are not part of
the minimal system with Python, without pip; for a container that of the whole image. Wheels and
packages were downloaded before, but those of a container while it is built. *Seconds to start* is
the time from the command to the first probe, at its first start. All ran on the kernel of one
machine, which did other work, too. Each row names the commit that was installed.

| system | way | MB on disk | seconds to install | seconds to start | commit |
|---|---|--:|--:|--:|---|
"""


@dataclass
class Page:
    """What was measured now.

    Attributes:
        rows: System, way, megabytes on disk, seconds to install, seconds until it measures.
    """

    rows: list[tuple[str, str, float, float, float]] = field(default_factory=list)

    def text(self, earlier: str) -> str:
        """All of it; what was not installed now stays as an earlier page has it."""
        lines = {}
        for line in earlier.splitlines(keepends=True):
            system, way = ([cell.strip() for cell in line.split("|")] + ["", "", ""])[1:3]
            if system in SUITES:
                lines[system, way] = line
        for system, way, size, installing, starting in self.rows:
            figures = f"{size:.0f} | {installing:.0f} | {starting:.1f} | {commit()}"
            lines[system, way] = f"| {system} | {way} | {figures} |\n"
        suites = [*SUITES]
        ordered = sorted(lines, key=lambda place: suites.index(place[0]))
        return HEAD + "".join(lines[place] for place in ordered)
