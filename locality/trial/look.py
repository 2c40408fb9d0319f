"""A look at a port before anything is planned: who serves it, what it receives, how long it lasts.

Nothing is changed by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import AcceptBatch
from locality.connections.columns import lifetimes
from locality.errors import LocalityError
from locality.machine.clocks import monotonic_ns
from locality.reuseport.evidence import LOOK_S, Seen
from locality.reuseport.look import accepted_by
from locality.steering.count import Counted, receiving_cpus
from locality.trial.schedule import CARRIED, Lifetimes

if TYPE_CHECKING:
    from locality.arrays import Array
    from locality.machine.topology import Topology
    from locality.steering.waits import Waits
    from locality.trial.safety import Safety
    from locality.trial.targets import Target
    from locality.trial.traffic import Taken, Traffic

#: Seconds of the look.
SECONDS = 2.0
#: A port without any accepts is looked at so many times as long.
_TIMES = 3


@dataclass
class Look:
    """What was seen of a port.

    Attributes:
        target: Its listeners, with the workers that were seen to accept.
        receiving: The CPUs that receive.
        seen: Which threads accepted on which sockets.
        lifetimes: How long its connections last.
        accepted: How many were accepted.
        seconds: How long it was.
        waits: How long connections waited for accept().
    """

    target: Target
    receiving: frozenset[int]
    seen: Seen
    lifetimes: Lifetimes
    accepted: int
    seconds: float
    waits: Waits


@dataclass
class _Sums:
    counted: Counted
    began: int
    seen: Seen = field(default_factory=Seen)
    lasted: list[Array] = field(default_factory=list)

    def take(self, taken: Taken) -> None:
        self.counted.write(AcceptBatch(taken.accepts, 0, 0))
        self.seen.add(accepted_by(taken.accepts))
        ours = taken.connections["accept"]["time"] >= self.began
        self.lasted.append(lifetimes(taken.connections[ours]))


def look_at(traffic: Traffic, target: Target, machine: Topology, safety: Safety) -> Look:
    """Look at a port.

    Args:
        traffic: The sources, attached.
        target: Its listeners.
        machine: The CPUs.
        safety: Notes how it is before the trial.

    Raises:
        LocalityError: Nothing was accepted.
        KeyboardInterrupt: A signal asked to end.
    """
    traffic.discard()
    sums = _Sums(Counted(machine), monotonic_ns())
    safety.begin()
    looks = 0
    while looks < _TIMES and not (looks and sums.counted.total):
        looks += 1
        if traffic.run(SECONDS, [sums.take, safety.watch]).stopped:
            raise KeyboardInterrupt
    if not sums.counted.total:
        raise LocalityError(
            f"no connection was accepted on {target} in {looks * SECONDS:g} s: a trial needs "
            "traffic, so run it under load"
        )
    safety.before_is_over()
    lasted = np.concatenate(sums.lasted)
    ended, accepted = len(lasted), sums.counted.total
    most = float(np.percentile(lasted, CARRIED)) / 1e9 if ended else None
    return Look(
        target=target.again(sums.seen, LOOK_S),
        receiving=receiving_cpus(sums.counted),
        seen=sums.seen,
        lifetimes=Lifetimes(looks * SECONDS, ended, max(0, accepted - ended), most),
        accepted=accepted,
        seconds=looks * SECONDS,
        waits=sums.counted.waits,
    )
