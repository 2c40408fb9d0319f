"""The experiment with unequal RX CPUs. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from locality.commands.lines import show, table_console, tell
from locality.commands.numbers import WholeRange
from locality.commands.options import json_options
from locality.commands.values import NEW_OUTPUT, SECONDS, Spill

if TYPE_CHECKING:
    from pathlib import Path


@click.command("spill")
@click.option(
    "--load",
    "loads",
    type=WholeRange(1, 1000),
    metavar="PERCENT",
    multiple=True,
    default=(50, 70, 90),
    show_default=True,
    help="Send so much that the busiest worker would be busy for this share of the time if all "
    "connections were local. Above 100 it cannot take them. Repeatable.",
)
@click.option(
    "--skew",
    type=WholeRange(1, 100),
    metavar="PERCENT",
    default=80,
    show_default=True,
    help="Let the first CPU receive this share of the connections; the others share the rest.",
)
@click.option(
    "--work",
    type=WholeRange(1, 1000),
    metavar="MILLISECONDS",
    default=4,
    show_default=True,
    help="Let each connection take this time of its worker.",
)
@click.option(
    "--spill",
    "bound",
    type=Spill(),
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Spill where more than N connections wait. auto measures it while the hash chooses.",
)
@click.option(
    "--steering",
    "names",
    type=click.Choice(["hash", "map", "spill"]),
    multiple=True,
    help="Measure only this steering. Repeatable.  [default: all]",
)
@click.option(
    "--workers",
    type=WholeRange(2, 64),
    metavar="N",
    default=2,
    show_default=True,
    help="Start at most N workers, each on a CPU that receives.",
)
@click.option(
    "--seconds",
    type=SECONDS,
    default=8.0,
    show_default=True,
    help="Measure each steering for this time in each round.",
)
@click.option(
    "--rounds",
    type=WholeRange(1, 1000),
    metavar="N",
    default=5,
    show_default=True,
    help="Measure each steering N times, and take the median.",
)
@click.option(
    *("-o", "--output"),
    type=NEW_OUTPUT,
    metavar="FILE",
    help="Write the results to this file as JSON.",
)
@json_options()
def spill(
    *,
    loads: tuple[int, ...],
    skew: int,
    work: int,
    bound: int | str,
    names: tuple[str, ...],
    workers: int,
    seconds: float,
    rounds: int,
    output: Path | None,
    format_: str,
) -> None:
    """Compare hash, map and spill where RX CPUs are unequal.

    Connections come at moments that do not depend on the answers, and their times run from these
    moments. The three steerings take turns, and meet the same arrivals in each round.
    """
    from locality.lab.queue_experiment import SPILL, STEERINGS, Steering, open_queue_lab, run
    from locality.lab.queue_results import (
        NOTES,
        LoadResult,
        circumstances,
        conclusions,
        result_table,
        to_json,
        turn_line,
    )
    from locality.lab.udp_results import write_json
    from locality.spill.bound import Bound

    text = format_ == "text"
    console = table_console(beside=not text)
    wanted = [name for name in STEERINGS if name in (names or STEERINGS)]
    results: list[LoadResult] = []
    with open_queue_lab(1000 * work, workers) as lab:
        rest = (1 - skew / 100) / (len(lab.cpus) - 1)
        received = lab.learn([skew / 100, *[rest] * (len(lab.cpus) - 1)])
        lab.calibrate(received)
        for line in circumstances(lab, received):
            console.print(line)
        done, total = 0, len(loads) * rounds * len(wanted)
        for percentage in loads:
            load = percentage / 100
            chosen = Bound(bound, "as asked for") if isinstance(bound, int) else None
            if chosen is None:
                chosen = lab.choose_bound(received, load, seconds)
            rate = lab.rate(received, load)
            result = LoadResult(load, received.largest, rate, chosen)
            steerings = [
                Steering(name, chosen.connections if name == SPILL else None) for name in wanted
            ]
            for one in run(lab, received, load, steerings, seconds, rounds):
                done += 1
                console.print(turn_line(done, total, load, one))
                result.turns[one.steering].append(one)
            results.append(result)
        found = to_json(lab, received, results)
    if text:
        console.print()
        console.print(result_table(results))
        show(["", *NOTES, ""])
        if SPILL in wanted:
            show(conclusions(results))
    else:
        show([json.dumps(found)])
    if output is not None:
        write_json(found, output)
        tell(f"results written to {output}")
