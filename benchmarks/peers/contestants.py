"""Who runs side by side: command lines, and what they print.

Which of them can run here is asked of the kernel, and of what is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from locality.bpf import btf
from locality.machine import topology

if TYPE_CHECKING:
    from collections.abc import Mapping

PEERS = Path(__file__).parent
TCPACCEPT = Path("/usr/sbin/tcpaccept-bpfcc")
#: The venv's Python does not see the distribution's bcc.
PYTHON_OF_BCC = "/usr/bin/python3"
KPROBES = Path("/sys/bus/event_source/devices/kprobe")

# tcpaccept's heading waits in a buffer if it is not printed on a terminal. As there: line by line.
_LINE_BY_LINE = (
    "import runpy, sys; sys.stdout.reconfigure(line_buffering=True); "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


@dataclass(frozen=True)
class Contestant:
    """A program that traces.

    Attributes:
        name: How tables call it.
        command: Its command line.
        attached: A line that it prints as soon as it is attached; None if it writes to
            a ready-file, which is then its last argument.
        event: What each line for an event has, if it prints lines for events.
        environment: Variables it needs besides.
        compiles: By bcc: that takes a minute where CPUs are emulated.
        switched: The command that `switched.py` runs in its place, if it can.
    """

    name: str
    command: tuple[str, ...]
    attached: bytes | None = None
    event: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = False
    switched: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is a command of this package."""
        return self.attached is None


def _bpftrace(name: str, script: str, *arguments: str, event: bytes = b"") -> Contestant:
    return Contestant(
        name,
        ("bpftrace", str(PEERS / script), *arguments),
        b"__BPFTRACE_NOTIFY_PROBES_ATTACHED",
        event,
        {"__BPFTRACE_NOTIFY_PROBES_ATTACHED": "1"},
    )


def _bcc(name: str, script: Path, *arguments: str, attached: bytes, event: bytes) -> Contestant:
    command = (PYTHON_OF_BCC, "-c", _LINE_BY_LINE, str(script), *arguments)
    return Contestant(name, command, attached, event, compiles=True)


def _ours(*arguments: str, event: bytes = b"") -> Contestant:
    command = (sys.executable, "-m", "locality", *arguments, "--ready-file")
    return Contestant(
        " ".join(("locality", *arguments)),
        command,
        None,
        event,
        compiles="bcc" in arguments,
        switched=arguments[0] if len(arguments) == 1 else "",
    )


def accept() -> list[Contestant]:
    """Those that print a line for each accepted connection; ours first."""
    found = [_ours("accept", event=b" storm/")]
    if has_bpftrace():
        script = "accept_kretprobe.bt" if has_kprobes() else "accept_tracepoint.bt"
        found.append(_bpftrace("bpftrace accept", script, event=b"accept()"))
    # As much in a line as bpftrace's port has.
    found.append(_ours("accept", "--format", "classic", event=b" accept("))
    if not has_kprobes():
        return found
    # Our engine bcc compiles as long as bcc's own tools; what that costs is seen with packets.
    if can_compile_by_bcc() and TCPACCEPT.exists():
        found.append(_bcc("bcc tcpaccept", TCPACCEPT, attached=b"RADDR", event=b" storm "))
    return found


def skb() -> list[Contestant]:
    """Those that count packets by alloc CPU and free CPU; ours first.

    The ports hook functions of Linux 6.1; on kernels that free elsewhere nobody is beside ours.
    """
    found = [_ours("skb")]
    if not has_kprobes() or not _hooks_of_6_1():
        return found
    found.append(_ours("skb", "--rung", "kprobe"))
    cpus = str(topology.possible_cpus())
    if has_bpftrace():
        found += [
            _bpftrace("bpftrace locality.stp, kprobe", "locality_stp.bt", cpus),
            _bpftrace("bpftrace locality.stp, kfunc", "locality_stp_kfunc.bt", cpus),
        ]
    if can_compile_by_bcc():
        script = PEERS / "locality_stp_bcc.py"
        found.append(_bcc("bcc locality.stp", script, cpus, attached=b"attached", event=b""))
        if has_engines():
            found.append(_ours("skb", "--engine", "bcc"))
    return found


def calls(number: int, record_bytes: int) -> list[Contestant]:
    """Those that print a line for each call of a system call, getpgid; ours first.

    Args:
        number: The system call's.
        record_bytes: What the kernel hands over for each.
    """
    event = b" calls/"
    reader = (sys.executable, "-m", "benchmarks.calls_reader")
    found = [
        Contestant("locality: ring, summary", (*reader, "summary", str(number)), b"attached"),
        Contestant("locality: ring, text", (*reader, "text", str(number)), b"attached", event),
    ]
    others = os.environ.get("LOCALITY_OTHER_HEADERS")
    if can_compile_by_bcc() or (others and has_bcc()):
        script = PEERS / "calls_bcc.py"
        arguments = (str(number), str(record_bytes))
        bcc = _bcc("bcc: ring, print", script, *arguments, attached=b"attached", event=b" calls\n")
        # It reads nothing of the kernel's, so headers of another will do.
        environment = {"BCC_KERNEL_SOURCE": others} if others else {}
        found.append(replace(bcc, environment=environment))
    if has_bpftrace():
        found.append(_bpftrace("bpftrace: printf", "calls.bt", event=b" calls\n"))
    return found


def has_kprobes() -> bool:
    """Whether the kernel lets functions be hooked by kprobes."""
    return KPROBES.exists()


def has_bpftrace() -> bool:
    """Whether bpftrace is installed."""
    return shutil.which("bpftrace") is not None


@cache
def has_bcc() -> bool:
    """Whether the distribution's bcc is installed."""
    done = subprocess.run([PYTHON_OF_BCC, "-c", "import bcc"], check=False, capture_output=True)
    return done.returncode == 0


@cache
def can_compile_by_bcc() -> bool:
    """Whether bcc is installed and finds the running kernel's headers."""
    headers = Path(os.environ.get("BCC_KERNEL_SOURCE", f"/lib/modules/{os.uname().release}/build"))
    return (headers / "include").is_dir() and has_bcc()


@cache
def has_engines() -> bool:
    """Whether our commands have another engine."""
    answer = subprocess.run(
        [sys.executable, "-m", "locality", "skb", "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return re.search(r"--engine\b", answer) is not None


def _hooks_of_6_1() -> bool:
    """Whether an sk_buff's memory ends in the functions that the ports hook."""
    kernel = btf.kernel()
    return kernel.has_function("__kfree_skb_defer") and not kernel.has_function(
        "napi_skb_cache_put"
    )
