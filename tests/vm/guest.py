"""Run one command in a guest: another kernel on this machine's own root file system.

A guest of another architecture has a root file system of its own, and the checkout from here
(`arm64_guest.py`); all else is as in the others.

The guest sees the host's files read-only, so the checkout and its virtual
environment are there; /tmp and /run are its own, and one directory, /run/share,
is shared with the host and writable by both. QEMU emulates the CPUs: slow, but it
needs no support from the machine. Counts and ratios taken in a guest mean
something, times do not.

By hand, from a checkout: `tools/boot 6.1 -- uname -r`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.checkout import CHECKOUT
from tests.vm import arm64_guest
from tests.vm.kernel_images import (
    SOURCES,
    CannotBoot,
    KernelImage,
    kernel_image,
    require_programs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A probe is attached by writing a breakpoint over an instruction, then the rest, then the first
# byte. Seen on 6.12 and 7.3, once in some dozen runs: an emulated CPU runs into the breakpoint
# when the kernel no longer expects it, and panics. Seen once on 6.1, in kfree_skbmem+0x0: it runs
# into it for ever, until the guest's watchdog panics (start.sh). Such a guest is started again.
HALF_PATCHED = ("Oops: int3", "softlockup: hung tasks")
ATTEMPTS = 3

POLL = 0.2  # seconds between two looks at the guest's output

# For each program a guest cannot start without, the Debian package that has it.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "modprobe": "kmod",
}

# Two virtio NICs on one cable, which nobody else is on: what leaves one comes in by the other.
JOINED_NICS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
JOINED = [
    word
    for number, address in enumerate(JOINED_NICS)
    for word in (
        "-netdev",
        f"hubport,id=joined{number},hubid=0",
        "-device",
        f"virtio-net-pci,netdev=joined{number},mac={address}",
    )
]


@dataclass(frozen=True)
class Ended:
    """How a guest ended.

    Attributes:
        status: The command's exit status; None if the guest was killed or crashed before
            the command was done.
        output: What the command wrote to stdout and stderr, as far as it came.
        console: What the kernel and virtme wrote: for a guest that did not get that far.
        seconds: From the start of QEMU to its end.
    """

    status: int | None
    output: str
    console: str
    seconds: float


def run(
    image: KernelImage,
    command: str,
    *,
    share: Path,
    timeout: float,
    cpus: int | str = 4,
    memory: str = "2G",
    numa: Sequence[str] = (),
    qemu: Sequence[str] = (),
    inside: Sequence[str] = (),
    follow: bool = False,
) -> Ended:
    """Boot a guest, run a shell command in it as root, and end the guest.

    Args:
        image: The kernel.
        command: A line for sh; it starts in the checkout, with the environment's programs
            on PATH.
        share: A directory of the host that the guest has as /run/share. The files command,
            input, output, status and start.sh in it belong to this function; an input that is there
            already is the command's standard input.
        timeout: Seconds after which the guest is killed, counted from the start of QEMU.
        cpus: Number of CPUs in the guest, or their layout as of QEMU's -smp.
        memory: Its memory, in QEMU's notation.
        numa: Its NUMA nodes, each as ``MEMORY,cpus=LIST``; together they have all memory.
        qemu: More options for QEMU.
        inside: A command that runs QEMU somewhere else, such as in a network namespace; the
            files it sees must be the same.
        follow: Copy the command's output to this process's stdout as it comes.

    Raises:
        CannotBoot: A program is missing here.
    """
    before = arm64_guest.PREPARE if image.architecture == "arm64" else ""
    (share / "command").write_text(f"{before}{command}\n")
    # From here, for a checkout below /var/tmp is hidden by virtme's own mounts at this point.
    shutil.copy(CHECKOUT / "tests/vm/start.sh", share)
    (share / "input").touch()
    options = [
        f"--cpus={cpus}",
        f"--memory={memory}",
        *(f"--numa={node}" for node in numa),
        *(f"--qemu-opt={word}" for word in qemu),
    ]
    if image.architecture == "arm64":
        if numa:
            raise CannotBoot("a guest of arm64 has no NUMA nodes here")
        start = arm64_guest.command(image, share, cpus=cpus, memory=memory)
        argv = [*inside, *start, *qemu]
    else:
        argv = [*inside, *_virtme_command(image, share, options)]
    for _ in range(ATTEMPTS):
        ended = _boot(argv, share, timeout, follow=follow)
        if ended.status is not None or not any(mark in ended.console for mark in HALF_PATCHED):
            break
    if image.architecture == "arm64":
        arm64_guest.keep_bytecode(share)
    return ended


def _boot(argv: Sequence[str], share: Path, timeout: float, *, follow: bool) -> Ended:
    for leftover in ("output", "status"):
        (share / leftover).unlink(missing_ok=True)
    begin = time.monotonic()
    with (
        TemporaryDirectory(prefix="locality-guest-") as scratch,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            # A pipe, not a file: QEMU opens it anew and would overwrite a file.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": scratch},
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            console = _wait(process, begin + timeout, share / "output" if follow else None)
        finally:
            process.kill()
    seconds = time.monotonic() - begin
    status = share / "status"
    output = share / "output"
    return Ended(
        status=int(status.read_text()) if status.exists() else None,
        output=output.read_text(errors="replace") if output.exists() else "",
        console=console,
        seconds=seconds,
    )


def _wait(process: subprocess.Popen[str], deadline: float, followed: Path | None) -> str:
    """Wait for the end or kill at the deadline; return what came over the console."""
    shown = 0
    while True:
        try:
            console, _ = process.communicate(timeout=POLL)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                process.kill()
            ended = False
        else:
            ended = True
        if followed is not None and followed.exists():
            with followed.open("rb") as file:
                file.seek(shown)
                new = file.read()
            shown += len(new)
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()
        if ended:
            return console


def _virtme_command(image: KernelImage, share: Path, options: Iterable[str]) -> list[str]:
    virtme = Path(sys.prefix) / "bin" / "virtme-run"
    if not virtme.exists():
        raise CannotBoot("virtme-ng is not installed in this environment: run make setup")
    require_programs(PROGRAMS)
    start = ["busybox", "sh", "/run/share/start.sh", image.tree, CHECKOUT]
    start += [sys.prefix, "/usr", sys.prefix]
    host_files = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
    return [
        # Both this process and QEMU die with their parent; QEMU's part is in the script.
        *("setpriv", "--pdeathsig", "KILL"),
        sys.executable,
        str(virtme),
        f"--qemu-bin={CHECKOUT / 'tests/vm/qemu'}",
        f"--kimg={image.vmlinuz}",
        "--mods=auto",
        "--disable-kvm",
        "--force-9p",
        *options,
        "--user=root",
        "--show-boot-console",
        # Reading the time from the other clock, an emulated device, stops the CPU each time.
        "--kopt=tsc=reliable",
        # On a busy machine the emulated timer may be late at boot: taken for broken, a panic.
        "--kopt=no_timer_check",
        f"--rwdir=/run/share={share.resolve()}",
        # The same files once more; start.sh says why.
        "--qemu-opt=-fsdev",
        f"--qemu-opt={host_files}",
        "--qemu-opt=-device",
        "--qemu-opt=virtio-9p-pci,fsdev=host,mount_tag=host",
        f"--script-sh={shlex.join(str(word) for word in start)}",
    ]


def main() -> int:
    """Run the command line given to tools/boot; return the guest's exit status."""
    parser = argparse.ArgumentParser(
        prog="tools/boot",
        description="Run a command in a guest with another kernel, as root, in this checkout "
        "(read-only there). One argument after -- is a line for sh. What comes on standard "
        "input, if that is not a terminal, is the command's input.",
    )
    parser.add_argument("kernel", choices=SOURCES)
    parser.add_argument("command", nargs="+", metavar="-- command")
    parser.add_argument("--cpus", default="4", help="how many, or a layout as of QEMU's -smp")
    parser.add_argument("--memory", default="2G", help="in QEMU's notation (default: 2G)")
    parser.add_argument(
        "--numa", action="append", default=[], help="a node, MEMORY,cpus=LIST; repeatable"
    )
    parser.add_argument(
        "--qemu-opt", action="append", default=[], metavar="OPTION", help="one more for QEMU"
    )
    parser.add_argument("--timeout", type=float, default=600, help="seconds (default: 600)")
    parser.add_argument("--share", type=Path, help="a directory to see as /run/share, writable")
    arguments = parser.parse_args()
    command = arguments.command
    with TemporaryDirectory(prefix="locality-share-") as own:
        share = arguments.share or Path(own)
        share.mkdir(parents=True, exist_ok=True)
        if not sys.stdin.isatty():
            (share / "input").write_bytes(sys.stdin.buffer.read())
        try:
            ended = run(
                kernel_image(arguments.kernel),
                command[0] if len(command) == 1 else shlex.join(command),
                share=share,
                timeout=arguments.timeout,
                cpus=arguments.cpus,
                memory=arguments.memory,
                numa=arguments.numa,
                qemu=arguments.qemu_opt,
                follow=True,
            )
        except CannotBoot as reason:
            parser.exit(1, f"tools/boot: {reason}\n")
        except KeyboardInterrupt:
            return 130
    if ended.status is None:
        sys.stderr.write(ended.console)
        parser.exit(1, f"tools/boot: the guest ended after {ended.seconds:.0f} s, unfinished\n")
    return ended.status


if __name__ == "__main__":
    sys.exit(main())
