"""Recordings are read where there is no Linux: without libbpf, and without what only Linux has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
RECORDED = CHECKOUT / "locality/lab/recorded"

#: Takes away what another system's Python has not.
ELSEWHERE = """
import ctypes, os, socket, sys
HIDDEN = {"bcc", "fcntl", "grp", "pwd", "pyroute2", "resource", "termios", "tty"}
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in HIDDEN & sys.modules.keys():
    del sys.modules[name]
sys.meta_path.insert(0, Hidden())
LINUX = ("AF_ALG", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "IPPROTO_MPTCP", "NETLINK_", "PACKET_",
         "SO_BINDTODEVICE", "SO_INCOMING_CPU", "SO_MARK", "SO_REUSEPORT", "TCP_", "if_nametoindex")
for name in dir(socket):
    if name.startswith(LINUX):
        delattr(socket, name)
for name in ("O_PATH", "O_TMPFILE", "pidfd_open", "sched_getaffinity", "sched_setaffinity", "setns",
             "splice", "unshare"):
    if hasattr(os, name):
        delattr(os, name)
class Library(ctypes.CDLL):
    def __init__(self, name=None, *rest, **more):
        if "bpf" in str(name):
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        super().__init__(name, *rest, **more)
ctypes.CDLL = Library
"""
PROGRAM = f"""{ELSEWHERE}
sys.argv[0] = "locality"
from locality.__main__ import main
main()
"""
PARTS = f"""{ELSEWHERE}
from locality.kinds import KINDS
for kind in KINDS.values():
    for part in ("columns", "recorder", "require", "timed", "frames", "report", "summary",
                 "summary_lines", "dashboard"):
        getattr(kind, part).get()
    for output in kind.outputs.values():
        output.get()
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=False,
    )


# Bug: what reads a recording imports what measures, and asks for libbpf.
@pytest.mark.parametrize("kind", ["accept", "skb"])
def test_recordings_are_read_anywhere(kind: str, tmp_path: Path) -> None:
    name = "before.arrows" if kind == "accept" else f"before.{kind}.arrows"
    recording, page = str(RECORDED / name), tmp_path / "page.html"
    for arguments in (
        ("info", recording),
        ("replay", "--speed", "0", recording),
        ("export", recording, "-"),
        ("report", recording, "-o", str(page)),
    ):
        done = python(PROGRAM, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    assert page.stat().st_size
    assert not python(
        f"{ELSEWHERE}\nfrom locality.recording.frames import load\nload(sys.argv[1])", recording
    ).returncode


# Bug: the same for a kind that nobody has recorded in the lab.
def test_every_kind_has_its_parts_anywhere() -> None:
    assert not python(PARTS).stderr
