"""Recordings are read where there is no Linux: without libbpf, and without what only Linux has."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from locality.kinds import KINDS
from locality.trial.recording import record
from tests.checkout import CHECKOUT
from tests.unit.connections.made_up import batch, connections
from tests.unit.cost.test_output import SEEN as COST
from tests.unit.recordings import meta
from tests.unit.top.test_output import SEEN as TOP
from tests.unit.trial.test_recording import whole
from tests.unit.udp.test_recording import made_up

if TYPE_CHECKING:
    from pathlib import Path

#: No whole microseconds: no datetime of Python is this time.
TIME = 1_700_000_001.123456717
RECORDED = CHECKOUT / "locality/lab/recorded"

#: Takes away modules, whose names are in HIDDEN.
HIDING = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
for name in HIDDEN & sys.modules.keys():
    del sys.modules[name]
sys.meta_path.insert(0, Hidden())
"""
#: Takes away what another system's Python has not.
ELSEWHERE = f"""
HIDDEN = {{"bcc", "fcntl", "grp", "pwd", "resource", "termios", "tty"}}
{HIDING}
import ctypes, os, socket
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
            raise OSError(f"{{name}}: cannot open shared object file: No such file or directory")
        super().__init__(name, *rest, **more)
ctypes.CDLL = Library
"""
#: Runs several command lines; ends with an error where one of them does.
RUN = """
import json
from locality.__main__ import main
recording, *lines = json.loads(sys.argv[1])
for line in lines:
    sys.argv[:] = ["locality", *line]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{line}: {ended.code}")
"""
#: And loads a recording.
PROGRAM = f"""{ELSEWHERE}{RUN}
from locality import load
assert load(recording).frames
"""
#: Without what only reports and load() need.
LEAN = f"""
HIDDEN = {{"matplotlib", "pandas"}}
{HIDING}{RUN}"""
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


def make(kind: str, path: Path) -> None:
    """Write a recording of a kind, with rows."""
    if kind == "trial":
        record(whole(), path)
    elif kind == "accept":
        shutil.copy(RECORDED / "before.arrows", path)
    elif kind == "skb":
        shutil.copy(RECORDED / "before.skb.arrows", path)
    else:
        batches: dict[str, object] = {
            "connections": batch(connections(30)),
            "cost": replace(COST, time=TIME),
            "top": replace(TOP, time=TIME),
            "udp": made_up(0),
        }
        with KINDS[kind].recorder.get()(path, meta(kind)) as recorder:
            recorder.write(batches[kind])


# Bugs: what reads a recording imports what measures, and asks for libbpf; a new kind does so.
@pytest.mark.parametrize("kind", KINDS)
def test_recordings_are_read_anywhere(kind: str, tmp_path: Path) -> None:
    recording = tmp_path / "made.arrows"
    files = [tmp_path / name for name in ("lines", "copy.parquet", "page.html")]
    make(kind, recording)
    lines = [
        ("info", recording),
        ("--output", files[0], "replay", "--speed", "0", recording),
        ("export", recording, "-"),
        ("export", recording, files[1]),
        ("report", recording, "-o", files[2]),
    ]
    done = python(PROGRAM, json.dumps([recording, *lines], default=str))
    assert done.returncode == 0, done.stderr
    assert all(file.stat().st_size for file in files)


# Bug: what replays a recording has Arrow make times of nanoseconds, for which it wants pandas: a
# traceback where there is none.
@pytest.mark.parametrize("kind", KINDS)
def test_recordings_are_read_without_pandas(kind: str, tmp_path: Path) -> None:
    recording = tmp_path / "made.arrows"
    make(kind, recording)
    lines = [
        ("info", recording),
        ("replay", "--speed", "0", recording),
        ("replay", "--speed", "0", "--json", recording),
        ("export", recording, "-"),
        ("export", recording, "-", "--format", "json"),
        ("export", recording, tmp_path / "copy.parquet"),
    ]
    if kind != "connections":  # which data sets do not take
        lines.append(("export", "--dataset", tmp_path / "set", recording))
    done = python(LEAN, json.dumps([recording, *lines], default=str))
    assert done.returncode == 0, done.stderr


# Bug: the same for a kind that nobody has recorded in the lab.
def test_every_kind_has_its_parts_anywhere() -> None:
    assert not python(PARTS).stderr
