"""What attach-cbpf is asked for: its options in one object, and which of them exclude others."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from locality.cbpf import Control, Program

AUTO = "auto"
PAYLOAD = "payload"
CBPF, INCOMING_CPU = "cbpf", "incoming-cpu"

SAMPLE_S = 1.0
"""How long to look which CPUs receive, unless told or verified."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of attach-cbpf, by the names they have there.

    Attributes:
        means: What --with names: CBPF or INCOMING_CPU.
        spill: So many connections may wait for a worker before others get some; AUTO to measure
            it; None for a program that does not look at queues.
        queues: How many wait at each index, for --dry-run.
    """

    # Which groups.
    port: int | None
    proto: str | None
    comm: str | None
    netns: int | None
    pid: int | None
    fd: int | None
    # What to attach to them.
    means: str
    group: int | None
    program: str | None
    payload_offset: int | None
    mask: int | None
    value: int | None
    others: str | None
    map_: str | None
    rx_cpus: frozenset[int] | None
    spill: int | str | None
    queues: tuple[int, ...] | None
    # What to do, and how.
    verify: float | None
    follow: bool
    detach_on_exit: bool
    detach: bool
    dry_run: bool
    force: bool

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: The first of `MISTAKES` that was made.
            LocalityError: What --program payload is to look for cannot be.
        """
        for mistake, made in MISTAKES.items():
            if made(self):
                raise click.UsageError(mistake)
        self.control  # noqa: B018 - refuses a value with bits outside the mask

    @property
    def socket(self) -> tuple[int, int] | None:
        """The one socket that was named: a process and its file descriptor."""
        return None if self.pid is None or self.fd is None else (self.pid, self.fd)

    @property
    def detach_command(self) -> str:
        """What takes away what was attached, or set, to these groups: a line for a shell."""
        named = {
            "--port": self.port,
            "--proto": self.proto,
            "--comm": self.comm,
            "--netns": self.netns,
            "--pid": self.pid,
            "--fd": self.fd,
            "--with": None if self.means == CBPF else self.means,
        }
        words = [f"{word}" for pair in named.items() if pair[1] is not None for word in pair]
        return shlex.join(["locality", "attach-cbpf", *words, "--detach"])

    @property
    def names_program(self) -> bool:
        """Whether an option says which program; without one it is --map auto."""
        return (self.group, self.program, self.map_) != (None, None, None)

    @property
    def table(self) -> str | None:
        """The table from CPU to index: as text, AUTO, or None for a program without one."""
        return self.map_ if self.names_program else AUTO

    @property
    def control(self) -> Control | None:
        """What control traffic is, for --program payload."""
        from locality import cbpf

        if self.payload_offset is None or self.value is None:
            return None
        mask = 0xFF if self.mask is None else self.mask
        return cbpf.Control(self.payload_offset, self.value, mask, self.others or "random")

    @property
    def build(self) -> Callable[[int], Program]:
        """Makes the program for a size of group."""
        from locality import cbpf

        if self.control is None:
            return cbpf.BUILDERS[self.program or "cpu"]
        return partial(cbpf.payload, control=self.control)

    @property
    def sample_s(self) -> float | None:
        """How long to count accepts before acting, in seconds; None for not at all."""
        measured = (self.table == AUTO and self.rx_cpus is None) or self.spill == AUTO
        return self.verify or (SAMPLE_S if measured else None)


#: What to answer to options that do not go together, and whether a request has them.
MISTAKES: Mapping[str, Callable[[Request], bool]] = {
    "--port, or --pid and --fd, say on which group": lambda asked: (
        asked.port is None and asked.pid is None
    ),
    "--pid is missing: give --pid and --fd, or --port": lambda asked: (
        asked.pid is None and asked.fd is not None
    ),
    "--fd is missing: give --pid and --fd, or --port": lambda asked: (
        asked.port is None and asked.fd is None
    ),
    "--fd names one socket and --port all: give one of them": lambda asked: (
        asked.port is not None and asked.fd is not None
    ),
    "--comm, --netns and --proto go with --port": lambda asked: (
        asked.port is None and (asked.comm, asked.netns, asked.proto) != (None, None, None)
    ),
    "--follow goes with --port, not with a process that ends": lambda asked: (
        asked.follow and (asked.port is None or asked.pid is not None)
    ),
    "--detach-on-exit goes with --follow": lambda asked: asked.detach_on_exit and not asked.follow,
    "--detach goes with --port, or --pid and --fd, alone": lambda asked: (
        asked.detach
        and (
            asked.names_program
            or asked.dry_run
            or asked.follow
            or asked.verify is not None
            or asked.spill is not None
        )
    ),
    "--with incoming-cpu goes with --port, --verify and --detach": lambda asked: (
        asked.means != CBPF
        and (
            asked.port is None
            or asked.names_program
            or asked.dry_run
            or asked.follow
            or asked.spill is not None
        )
    ),
    "--spill goes with --map auto, which is the default with --port": lambda asked: (
        asked.spill is not None and asked.table != AUTO
    ),
    "--spill is for TCP: a UDP program runs for each datagram, and would scatter a flow": (
        lambda asked: asked.spill is not None and asked.proto == "udp"
    ),
    "--queues goes with --spill and --dry-run": lambda asked: (
        asked.queues is not None and (asked.spill is None or not asked.dry_run)
    ),
    "--map is a program of its own: leave --program out": lambda asked: (
        asked.map_ is not None and asked.program is not None
    ),
    "--map auto knows the group's size: leave --group out": lambda asked: (
        asked.map_ == AUTO and asked.group is not None
    ),
    "--program payload needs --payload-offset and --value": lambda asked: (
        asked.program == PAYLOAD and None in {asked.payload_offset, asked.value}
    ),
    "--payload-offset, --mask, --value and --others go with --program payload": lambda asked: (
        asked.program != PAYLOAD
        and {asked.payload_offset, asked.mask, asked.value, asked.others} != {None}
    ),
    "--rx-cpus goes with --map auto": lambda asked: (
        asked.rx_cpus is not None and asked.table != AUTO
    ),
    "give the size of the group (--group N) or a table (--map)": lambda asked: (
        asked.port is None and (asked.group, asked.map_) == (None, None) and not asked.detach
    ),
}
