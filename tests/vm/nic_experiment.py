"""The experiment in a guest: nginx behind a network card with queues, load from outside.

Runs in the guest that `tests.vm.demo_vm` boots. The phases and how they are measured are
those of `locality demo`; only the card and the wire to the load are other.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from locality.errors import LocalityError
from locality.lab.demo import phases, run
from locality.lab.experiment import Lab
from locality.lab.measure import measuring
from locality.lab.namespaces import Namespace
from locality.lab.results import change_lines, phase_line, phase_table
from locality.skb.interval import RX
from locality.text import percent, share
from tests.vm.guest_nic import set_up
from tests.vm.load_wire import RemoteLoad, wire_to_load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from locality.lab.demo import Measurement, Phase, PhaseResult

FIGURES = Path("/run/share/figures.json")


@dataclass
class NicLab(Lab):
    """A lab whose server is this whole machine, and whose client is outside of it."""

    outside: RemoteLoad

    @contextmanager
    def load(self) -> Iterator[RemoteLoad]:
        """Load on nginx; outside it ends when it is stopped, or with the guest."""
        self.outside.start()
        yield self.outside
        self.nginx.process.check()


@dataclass(frozen=True)
class Queues:
    """What the card did while a phase was measured.

    Attributes:
        result: What the phase showed.
        interrupts: Of each RX queue on each CPU: [queue][CPU].
    """

    result: PhaseResult
    interrupts: tuple[tuple[int, ...], ...]

    def figures(self) -> dict[str, object]:
        """For programs."""
        seen = self.result.measurement
        return {
            "phase": self.result.phase.name,
            "accepts": seen.accepts,
            "accept_local": seen.accept_local,
            "lost": seen.lost,
            "rx": seen.skb.rx.known,
            "rx_local": seen.skb.rx.local,
            "delivered": seen.skb.delivered,
            "delivered_local": seen.skb.delivered_local,
            # By alloc CPU: on receive the one that its queue interrupts.
            "received": seen.skb.matrix[RX].sum(axis=1).tolist(),
            "interrupts": self.interrupts,
            "errors": dict(self.result.load.errors),
        }


def experiment(console: Console, seconds: float) -> list[Queues]:
    """Run the phases and say what each shows as soon as it is known."""
    cpus = tuple(sorted(os.sched_getaffinity(0)))
    server = Namespace(os.getpid())
    done = []
    with wire_to_load() as outside, ExitStack() as serving, measuring(server) as meter:
        card = set_up(server, cpus)
        lab = NicLab(server, cpus, serving, outside)
        lab.serve()
        console.print(
            f"{card.link}: {len(cpus)} RX queues, queue i interrupts CPU i; nginx: worker i on "
            f"CPU i\n{len(phases(cpus))} phases of {seconds:g} s, measured on rung "
            f"{meter.accepts.attachment.rung.name}"
        )
        interrupts: tuple[tuple[int, ...], ...] = ()

        def measure(phase: Phase, seconds: float) -> Measurement:
            nonlocal interrupts
            before = card.interrupted()
            measurement = meter.measure(phase, seconds)
            interrupts = tuple(
                tuple(late - early for early, late in zip(*queue, strict=True))
                for queue in zip(before, card.interrupted(), strict=True)
            )
            return measurement

        for result in run(lab, measure, seconds=seconds):
            console.print(phase_line(result))
            done.append(Queues(result, interrupts))
    return done


def queue_table(done: Sequence[Queues]) -> Table:
    """One row for each phase: what reached the readers, and how often each queue interrupted."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("phase")
    for heading in (
        "delivered\nlocal",
        *(f"queue {queue}\non #{queue}" for queue in range(len(done[0].interrupts))),
        "on other\nCPUs",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in done:
        seen = each.result.measurement.skb
        own = [by_cpu[queue] for queue, by_cpu in enumerate(each.interrupts)]
        others = sum(map(sum, each.interrupts)) - sum(own)
        table.add_row(
            each.result.phase.name,
            percent(share(seen.delivered_local, seen.delivered)),
            *(f"{count:,}" for count in (*own, others)),
        )
    return table


def main() -> int:
    """Run the experiment, print it, leave its figures in the shared directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    console = Console(highlight=False)
    try:
        done = experiment(console, parser.parse_args().seconds)
    except LocalityError as error:
        sys.stderr.write(f"demo-vm: {error}\n")
        return 1
    FIGURES.write_text(json.dumps([each.figures() for each in done]))
    results = [each.result for each in done]
    console.print()
    console.print(phase_table(results))
    console.print("\nRX interrupts, by queue and CPU:")
    console.print(queue_table(done))
    console.print()
    for line in change_lines(results):
        console.print(line)
    if not all(result.as_expected for result in results):
        sys.stderr.write("demo-vm: a phase did not show what it must: see the first table\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
