"""Commands where the system gives them less than usual: limits, no /sys, no /proc."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from locality.machine.limits import PassingOver

PATIENCE = 60
LOCALITY = f"{sys.executable} -m locality"


def run(script: str) -> tuple[int, str]:
    """The exit code of a shell's command, and the only line on standard error."""
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    (line,) = done.stderr.splitlines()
    return done.returncode, line


# Bugs: a traceback, for /dev/null cannot be opened either; "standard output" or the kernel is
# blamed; sockets are left out, as if their processes had ended.
@pytest.mark.parametrize("files", [6, 7, 9, 16])
@pytest.mark.parametrize("command", ["accept", "skb", "udp"])
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_too_few_files(command: str, files: int) -> None:
    code, line = run(f"ulimit -n {files}; exec {LOCALITY} {command} --duration 0.1")
    assert code == 1
    assert line == (
        f"locality: Too many open files: raise the limit of this process (ulimit -n; it is {files})"
    )


# Bug: who serves a socket is not known, for a limit was taken for a process that has ended.
def test_a_limit_of_ours_is_not_passed_over() -> None:
    with PassingOver():
        raise ProcessLookupError(3, "No such process")
    with pytest.raises(OSError, match="Too many"), PassingOver():
        raise OSError(24, "Too many open files")


# Bug: numpy's or pyarrow's page of advice, or a traceback.
@pytest.mark.parametrize("command", ["accept --duration 0.1", "info /dev/null"])
def test_too_little_memory(command: str) -> None:
    code, line = run(f"ulimit -v 40000; exec {LOCALITY} {command}")
    assert code == 1
    assert "cannot be loaded" in line or "no more memory" in line


WITHOUT = "mount -t tmpfs none {}; exec " + LOCALITY


# Bugs: a traceback; the error's number and the file, and the reader is left to find out why; a
# missing /proc is called that of another pid namespace, a missing /sys one of another network.
@pytest.mark.parametrize(
    ("missing", "command"),
    [
        *(("/sys", name) for name in ("accept", "skb", "udp", "check", "doctor")),
        *(("/proc", name) for name in ("udp", "check", "doctor", "groups")),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_what_is_not_mounted_is_named(missing: str, command: str) -> None:
    code, line = run(f"exec unshare -m sh -c '{WITHOUT.format(missing)} {command}'")
    assert code == 1
    assert f"mount -t {'sysfs' if missing == '/sys' else 'proc'} " in line
