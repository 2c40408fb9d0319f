"""What a trial by blocks switches: a program, the RPS of a device, or two commands of the user's.

Arm A is the machine as it is, arm B what is tried. A switch knows the changes that an undo file
can take back; what commands do cannot be taken back by one, so command A is run at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from locality.changes.kernel import FileChange
from locality.changes.system import this_system
from locality.errors import LocalityError
from locality.machine.topology import format_cpu_list, format_cpu_mask
from locality.trial.observation import A, B

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.cbpf import Program
    from locality.changes.protocol import Change
    from locality.reuseport.survey import FoundGroup
    from locality.spill.table import Table
    from locality.trial.programs import Command
    from locality.trial.targets import Steered

RPS = "rps:"
ATTACH = "attach"
SPILL = "spill"


class Switch(Protocol):
    """Two states of a machine, and how to get from one to the other."""

    @property
    def keeps_connections(self) -> bool:
        """Whether a connection keeps the arm that it was made in, whatever the arm is later."""

    @property
    def arms(self) -> tuple[str, str]:
        """What A and B are, in words."""

    @property
    def changes(self) -> Sequence[Change]:
        """What B changes and an undo file can take back."""

    def to(self, arm: int) -> None:
        """Go to a state, whichever there is.

        Raises:
            LocalityError: It was refused.
        """

    def programs(self) -> Sequence[tuple[FoundGroup, Program | Table | None]]:
        """The program that each group has now, where it is this that is switched."""

    def lines(self) -> Sequence[str]:
        """What each arm does, for a dry run."""


class AttachSwitch:
    """A program for each group, against the one that is there, or none.

    Args:
        steered: The groups.
        programs: Arm B's, for each group; what is tried on it if not given.
        name: What that is, in words.
    """

    keeps_connections = True

    def __init__(
        self,
        steered: Sequence[Steered],
        programs: Sequence[Program] = (),
        name: str = "nearest worker",
    ) -> None:
        self._steered, self._name = steered, name
        self._tried: Sequence[Program | Table] = programs or [one.tried for one in steered]
        self._present: list[Program | Table | None] = [one.before for one in steered]

    @property
    def arms(self) -> tuple[str, str]:
        """As it is, and the program."""
        return ("as it is", self._name)

    @property
    def changes(self) -> list[Change]:
        """The program of each group."""
        pairs = zip(self._steered, self._tried, strict=True)
        return [one.change_to(program) for one, program in pairs]

    def to(self, arm: int) -> None:
        """Attach the program, or what was there; not over a program of somebody else."""
        for place, (one, tried) in enumerate(zip(self._steered, self._tried, strict=True)):
            wanted = tried if arm == B else one.before
            if self._present[place] != wanted:
                one.require_present(self._present[place])
                one.attach(wanted)
                self._present[place] = wanted

    def programs(self) -> list[tuple[FoundGroup, Program | Table | None]]:
        """What was attached last."""
        groups = [one.group for one in self._steered]
        return list(zip(groups, self._present, strict=True))

    def lines(self) -> list[str]:
        """The commands that would do it by hand."""
        return [f"B: {change.command}" for change in self.changes]


class RpsSwitch:
    """The RPS of one device: as it is, against off where it is on, or on where it is off.

    Args:
        device: Its name, in this network namespace.
        cpus: The CPUs that RPS would use.

    Raises:
        LocalityError: There is no such device, or its files cannot be read.
    """

    keeps_connections = False  # RPS chooses the CPU of each packet

    def __init__(self, device: str, cpus: Sequence[int]) -> None:
        self._system = this_system()
        queues = Path("/sys/class/net") / device / "queues"
        if "/" in device or not (found := sorted(queues.glob("rx-*"), key=_number)):
            raise LocalityError(
                f"there is no network device {device!r} with RX queues in this network namespace: "
                "ip link shows those that there are"
            )
        self.device = device
        self._paths = [f"{queue}/rps_cpus" for queue in found]
        try:
            self._before = [self._system.files.read(path) for path in self._paths]
        except OSError as error:
            raise LocalityError(f"{self._paths[0]}: {error.strerror}") from None
        self.is_on = any(mask.strip("0,\n") for mask in self._before)
        self._cpus = cpus
        self._mask = "0" if self.is_on else format_cpu_mask(cpus)

    @property
    def arms(self) -> tuple[str, str]:
        """RPS as it is, and the other way."""
        state = "on" if self.is_on else "off"
        other = "off" if self.is_on else f"on (CPUs {format_cpu_list(self._cpus)})"
        return (f"RPS of {self.device} {state}, as it is", f"RPS {other}")

    @property
    def changes(self) -> list[Change]:
        """The mask of each queue."""
        return [
            FileChange(path, before, self._mask)
            for path, before in zip(self._paths, self._before, strict=True)
        ]

    def to(self, arm: int) -> None:
        """Write the masks."""
        for path, before in zip(self._paths, self._before, strict=True):
            try:
                self._system.files.write(path, self._mask if arm == B else before)
            except OSError as error:
                raise LocalityError(f"{path}: {error.strerror}") from None

    def programs(self) -> list[tuple[FoundGroup, Program | Table | None]]:
        """Programs are left alone."""
        return []

    def lines(self) -> list[str]:
        """The commands that would do it by hand."""
        return [f"B: {change.command}" for change in self.changes]


class CommandSwitch:
    """Two commands: each brings about its arm, whichever there was."""

    keeps_connections = True  # for all that is known of them

    def __init__(self, first: Command, second: Command) -> None:
        self._commands = (first, second)

    @property
    def arms(self) -> tuple[str, str]:
        """The commands."""
        return (self._commands[A].text, self._commands[B].text)

    @property
    def changes(self) -> list[Change]:
        """None that an undo file can take back."""
        return []

    def to(self, arm: int) -> None:
        """Run the arm's command."""
        self._commands[arm].run()

    def programs(self) -> list[tuple[FoundGroup, Program | Table | None]]:
        """Programs are left alone."""
        return []

    def lines(self) -> list[str]:
        """How the commands are run."""
        return [
            f"A: {self._commands[A]}",
            f"B: {self._commands[B]}",
            "Each runs without a shell, in the directory /, before each of its blocks.",
            "No undo file can take back what they do: A is run at the end. After kill -9, run it.",
        ]


def rps_of(device: str) -> RpsSwitch:
    """The RPS of a device of this network namespace.

    CPUs that are reserved (isolcpus, nohz_full, outside of our cpuset) are not used for it.

    Raises:
        LocalityError: There is no such device, or /sys is another network namespace's.
    """
    from locality.doctor.facts import read  # noqa: PLC0415 - half a second
    from locality.machine.ethtool import read_links  # noqa: PLC0415

    try:
        links = read_links()
    except OSError as error:
        raise LocalityError(f"netlink, to list the devices: {error.strerror}") from error
    return RpsSwitch(device, read(Path("/"), links, device).housekeeping)


def _number(queue: Path) -> int:
    return int(queue.name.partition("-")[2])
