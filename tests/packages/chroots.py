"""Bare Debian systems in directories: what a user's machine has before locality is installed."""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: Suites of Debian, by what people call them.
SUITES = {"Debian 12": "bookworm", "Debian 13": "trixie", "Debian sid": "sid"}

APT = Path("/etc/apt")
#: Where packages are in a system that are at hand and not installed.
AT_HAND = "/at-hand"
_URI = re.compile(r"^(?:URIs:|deb)\s.*?(\S+://\S+)", re.MULTILINE)


class Chroot:
    """A system in a directory.

    Args:
        name: What people call it.
        root: The directory.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, to its end."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        return subprocess.run(
            ["chroot", str(self.root), *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def must(self, *command: str) -> str:
        """What a command prints that must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def megabytes(self, *places: str) -> float:
        """The size of files and directories in it."""
        sizes = self.must("du", "-sck", *places).splitlines()[-1]
        return int(sizes.split()[0]) / 1024


def make_system(suite: str, packages: Collection[str], target: Path, *options: str) -> None:
    """Make a minimal system of a suite with some packages.

    The packages come from where this machine has its own from.

    Args:
        suite: The suite of Debian.
        packages: Packages to install.
        target: A directory, or the name of an archive (.tar).
        options: More of mmdebstrap's.
    """
    mirror = next(
        match[1]
        for place in (APT / "sources.list", *sorted(APT.glob("sources.list.d/*")))
        if place.suffix in {".list", ".sources"} and place.is_file()
        if (match := _URI.search(place.read_text()))
    )
    # A mirror may be a snapshot of one day.
    old = '--aptopt=Acquire::Check-Valid-Until "false"'
    include = f"--include={','.join(packages)}"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", old, include, *options]
    subprocess.run([*command, suite, str(target), mirror], check=True)


@contextmanager
def bare(
    name: str, suite: str, packages: Collection[str], at_hand: str, root: Path
) -> Iterator[Chroot]:
    """A minimal system of a suite, for the time of the block.

    Args:
        name: What people call it.
        suite: The suite of Debian.
        packages: Packages to install.
        at_hand: A package to put into `AT_HAND` with what it needs, and not to install.
        root: Where to.
    """
    download = (
        "apt-get clean && "
        f"apt-get install -qq -y --no-install-recommends --download-only {at_hand} && "
        f"mkdir {AT_HAND} && cp /var/cache/apt/archives/*.deb {AT_HAND}"
    )
    make_system(suite, packages, root, f"--customize-hook=chroot \"$1\" sh -c '{download}'")
    with ExitStack() as mounts:
        for place in ("proc", "sys"):
            subprocess.run(["mount", "--rbind", f"/{place}", str(root / place)], check=True)
            mounts.callback(subprocess.run, ["umount", "-lR", str(root / place)], check=True)
        yield Chroot(name, root)
