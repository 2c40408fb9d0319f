"""The programs the lab is made with: are they here, and what did they say when they failed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACKAGES = {
    "cat": "coreutils",
    "ip": "iproute2",
    "mount": "mount",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "tee": "coreutils",
    "unshare": "util-linux",
    "wrk": "wrk",
}
"""Program to the Debian package that has it."""


#: Where the lab's programs are looked for: the system's directories, whatever PATH says.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The environment of the lab's programs. Root's own may come from somebody else.
ENVIRONMENT = {
    "PATH": SYSTEM_PATH,
    "LC_ALL": "C.UTF-8",
    # This package for the lab's Python programs, wherever it was installed.
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "OPENBLAS_NUM_THREADS": "1",
}
#: Runs a module of this package; -P keeps the current directory out of the module search path.
PYTHON = (sys.executable, "-P", "-m")


def require(packages: Mapping[str, str] = PACKAGES) -> None:
    """Check, before anything is made, that the lab can be made.

    Args:
        packages: Program to the Debian package that has it.

    Raises:
        LocalityError: A program is missing (names every one), or this is not root.
    """
    missing = [program for program in packages if shutil.which(program, path=SYSTEM_PATH) is None]
    if missing:
        names = " ".join(sorted({packages[program] for program in missing}))
        raise LocalityError(
            f"the lab needs {' and '.join(missing)} in a directory of the system (such as "
            f"/usr/bin): apt-get install {names}"
        )
    if os.geteuid() != 0:
        raise LocalityError("the lab makes network namespaces, only root can: run it with sudo")


def run(argv: Sequence[str], *, inside: Sequence[str] = (), stdin: str = "") -> str:
    """Run a program to its end.

    Args:
        argv: The program and its arguments.
        inside: A command that runs `argv` somewhere else, left out of error messages.
        stdin: Text for its standard input.

    Returns:
        Its standard output.

    Raises:
        LocalityError: It could not be started or failed; carries its last line.
    """
    try:
        done = subprocess.run(
            [*inside, *argv],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            env=ENVIRONMENT,
        )
    except OSError as error:
        raise LocalityError(f"{shlex.join(argv)}: {error.strerror}") from error
    if done.returncode != 0:
        raise failure(argv, done.stderr, done.returncode)
    return done.stdout


def failure(argv: Sequence[str], output: str, status: int | None) -> LocalityError:
    """Put a program's end into one line.

    Args:
        argv: The program and its arguments.
        output: What it printed; the last line that is not empty gives the reason.
        status: Exit status, negative for a signal, or None while it runs.
    """
    said = [line.strip() for line in output.splitlines() if line.strip()]
    if status is not None and status < 0:
        reason = f"killed by signal {-status}"
    elif said:
        reason = said[-1]
    else:
        reason = "no answer" if status is None else f"exit status {status}"
    return LocalityError(f"{shlex.join(argv)}: {reason}")


def children(pid: int) -> list[int]:
    """Pids of a process's children, as this process sees them, ascending.

    Reads the fourth field of `/proc/PID/stat` (proc(5)); `/proc/PID/task/*/children`
    would be shorter but is a build option of the kernel.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The second field, the name, may hold blanks and parentheses.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(stat.parent.name))
    return sorted(found)
