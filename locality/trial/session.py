"""What both kinds of trial work with: the sources, what was seen before, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from locality.machine.topology import Topology
    from locality.trial.asked import Asked, Reporter
    from locality.trial.look import Look
    from locality.trial.safety import Safety
    from locality.trial.targets import Target
    from locality.trial.traffic import Traffic


@dataclass(frozen=True)
class Session:
    """One run of the command.

    Attributes:
        traffic: The sources, attached.
        look: What was seen before anything was planned.
        machine: The CPUs.
        asked: What is asked for.
        reporter: Is told where it is.
        safety: Judges harm.
    """

    traffic: Traffic
    look: Look
    machine: Topology
    asked: Asked
    reporter: Reporter
    safety: Safety

    @property
    def target(self) -> Target:
        """The listeners."""
        return self.look.target
