"""Cgroups (v2) for the time of a test, and programs that run in one."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.machine.cgroups import Cgroup, find

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What a program does first: it goes into the cgroup that its first argument names.
ENTER = "import sys; open(sys.argv[1] + '/cgroup.procs', 'w').write('0')\n"


@contextmanager
def cgroup(*below: str) -> Iterator[list[Cgroup]]:
    """A cgroup of ours, and a path of cgroups below it; the outermost comes first."""
    try:
        root = find("/")
    except LocalityError as refusal:
        pytest.skip(f"limitation: {refusal}")
    directory = root.directory / f"locality-test-{os.getpid()}"
    made = []
    try:
        for name in ("", *below):
            directory /= name
            directory.mkdir()
            made.append(find(str(directory)))
        yield made
    finally:
        for one in reversed(made):
            one.directory.rmdir()


@contextmanager
def running_in(
    inside: Cgroup, program: str, *arguments: str, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program in a cgroup: its arguments begin at sys.argv[2]."""
    command = [sys.executable, "-c", ENTER + program, str(inside.directory), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=pass_fds
    ) as child:
        try:
            yield child
        finally:
            child.kill()
