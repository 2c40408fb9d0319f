"""A machine within the machine: anonymous namespaces that live as long as one pipe.

`unshare` makes a network, a mount and a PID namespace; the first process in the PID
namespace is a `cat` that reads from a pipe only we hold. When the pipe closes, `cat`
ends; with the first process of a PID namespace the kernel kills all the others
(zap_pid_ns_processes), and with the last process the network namespace goes, its
links with it. The pipe closes on every way out: the end of the `with` block, an
exception, Ctrl-C, and also SIGTERM and SIGKILL, which no clean-up code survives. So
there are no names to collide with another run's, and nothing for a later run to
sweep up.

To look inside while it runs: `nsenter --target PID --net --mount ss -ltn`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.programs import ENVIRONMENT, children, failure, run

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 20.0
"""How long a program may take to start: milliseconds, but seconds on an emulated machine."""
STOP_S = 5.0
"""How long a program may take to end when asked to, before it is killed."""
POLL_S = 0.002

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Process:
    """A program running in a namespace."""

    argv: tuple[str, ...]
    pid: int
    """The program's own pid, as this process sees it."""
    entry: subprocess.Popen[bytes]
    """`nsenter`, its parent: ends when it ends, with its status."""
    output: IO[bytes]
    """What it prints on standard output and error."""

    def check(self) -> None:
        """See that it still runs.

        Raises:
            LocalityError: It ended; carries the last line it printed.
        """
        if self.entry.poll() is not None:
            raise failure(self.argv, self.printed(), self.entry.returncode)

    def printed(self) -> str:
        """Everything it printed so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def end(self, number: int, timeout: float = STOP_S) -> bool:
        """Send it a signal and wait for its end.

        Args:
            number: The signal.
            timeout: Seconds to wait.

        Returns:
            Whether it has ended.
        """
        # Until nsenter has ended, the pid is the program's or its zombie's, nobody else's.
        if self.entry.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
        try:
            self.entry.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass(frozen=True)
class Namespace:
    """A network of its own, with its own mounts and its own pids."""

    pid: int
    """Its first process, as this process sees it."""

    def run(self, *argv: str, stdin: str = "", own_mounts: bool = True) -> str:
        """Run a program in it to its end and return what it printed; see `programs.run`.

        The program keeps the caller's PID namespace: a pid means the same to both. Without
        own_mounts it sees the caller's files, not this namespace's /sys and empty /tmp.
        """
        kinds = ("--net", "--mount") if own_mounts else ("--net",)
        return run(argv, inside=self._enter(*kinds), stdin=stdin)

    def write(self, path: str, text: str) -> None:
        """Write a file as this namespace sees it: a sysctl, an attribute of a device.

        Raises:
            LocalityError: The kernel refused; names the path.
        """
        self.run("tee", path, stdin=text)

    @contextmanager
    def start(self, *argv: str, own_mounts: bool = True) -> Iterator[Process]:
        """Start a program that runs until the block ends.

        It gets a session of its own: Ctrl-C at the terminal is for us to handle.

        Args:
            *argv: The program and its arguments.
            own_mounts: Whether it sees this namespace's mounts: its /sys, its empty /tmp.

        Raises:
            LocalityError: It ended at once; carries the last line it printed.
        """
        kinds = ("--net", "--pid", *(("--mount",) if own_mounts else ()))
        with (
            tempfile.TemporaryFile("a+b") as output,
            subprocess.Popen(
                [*self._enter(*kinds), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=ENVIRONMENT,
            ) as entry,
        ):
            # nsenter itself, until it has started the program: there is always one to end.
            process = Process(argv, entry.pid, entry, output)
            try:
                process = Process(argv, _first_child(process), entry, output)
                yield process
            finally:
                if not process.end(signal.SIGTERM):
                    process.end(signal.SIGKILL)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """This thread in the namespace's network: devices it names are those there.

        Raises:
            LocalityError: The kernel refused.
        """
        with Path("/proc/thread-self/ns/net").open() as ours:
            _join(f"/proc/{self.pid}/ns/net")
            try:
                yield
            finally:
                _join(f"/proc/self/fd/{ours.fileno()}")

    def _enter(self, *kinds: str) -> list[str]:
        return ["nsenter", "--target", str(self.pid), *kinds, "--"]


#: Below the old /tmp, which stays open as descriptor 3, are the directories that are shown again.
#: Their paths there must reach the kernel as they are: resolved, they are below the new one.
_EMPTY_TMP = """
exec 3</tmp
mount -t tmpfs tmpfs /tmp
for kept; do
    mkdir -p "$kept"
    mount --no-canonicalize --bind "/proc/self/fd/3/${kept#/tmp/}" "$kept"
done
"""


def _ours_below_tmp() -> list[str]:
    """Directories below /tmp that hold our own Python, its packages and this one."""
    prefixes = Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]
    holds = {one.resolve() for one in prefixes}
    below = [one for one in holds if one.is_relative_to("/tmp") and one != Path("/tmp")]  # noqa: S108
    return [str(one) for one in below if not any(other in below for other in one.parents)]


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace; when the block ends, so do its processes, links and mounts.

    Its /sys shows its own network devices. Its /tmp is private, and empty but for this program
    if it is installed there.

    Raises:
        LocalityError: The kernel refused, for instance to root without CAP_SYS_ADMIN.
    """
    argv = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "cat")
    with subprocess.Popen(
        argv,
        # What a dead unshare never read must not be left in a buffer: closing would write it
        # again, and the broken pipe would pass for our own standard output's.
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=ENVIRONMENT,
    ) as holder:
        assert holder.stdin  # noqa: S101 - for the type checker, here and below
        assert holder.stdout  # noqa: S101
        assert holder.stderr  # noqa: S101
        with suppress(BrokenPipeError):
            holder.stdin.write(b"here\n")
        # When the line comes back, cat runs, and the namespaces are there.
        if holder.stdout.readline() != b"here\n":
            raise failure(argv, holder.stderr.read().decode(errors="replace"), holder.wait())
        made = Namespace(children(holder.pid)[0])
        made.run("mount", "-t", "sysfs", "sysfs", "/sys")
        made.run("sh", "-ec", _EMPTY_TMP, "sh", *_ours_below_tmp())
        made.run("ip", "link", "set", "lo", "up")
        yield made


def _join(path: str) -> None:
    """Have this thread in a network namespace (os.setns is in Python 3.12)."""
    with Path(path).open() as network:
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET):
            raise LocalityError(f"setns({path}): {os.strerror(ctypes.get_errno())}")


def _first_child(process: Process) -> int:
    """The pid of the program that nsenter started."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        process.check()
        found = children(process.pid)
        if found:
            return found[0]
        time.sleep(POLL_S)
    raise failure(process.argv, process.printed(), None)
