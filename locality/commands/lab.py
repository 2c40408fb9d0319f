"""The experiments of the lab. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from locality.commands.demo import demo
from locality.commands.lab_spill import spill
from locality.commands.lazy import SuggestingGroup
from locality.commands.lines import show, table_console, tell
from locality.commands.numbers import WholeRange
from locality.commands.options import json_options
from locality.commands.values import NEW_OUTPUT, SECONDS
from locality.errors import LocalityError

if TYPE_CHECKING:
    from locality.lab.udp_cases import Result

#: Bytes of an IP packet. From about 3,500 on a veth takes no XDP program any more.
SMALLEST, LARGEST = 64, 3000


@click.group(cls=SuggestingGroup)
def lab() -> None:
    """Run experiments in network namespaces of their own.

    Nothing outside these namespaces changes, but the experiments load the CPUs of this machine.
    """


lab.add_command(demo)
lab.add_command(spill)


@lab.command()
@click.option(
    *("--seconds", "seconds"),
    type=SECONDS,
    default=0.4,
    show_default=True,
    help="Measure each case for this time in each round.",
)
@click.option(
    "--rounds",
    type=WholeRange(1, 1000),
    metavar="N",
    default=3,
    show_default=True,
    help="Measure each case N times, and take the median.",
)
@click.option(
    "--size",
    "sizes",
    type=WholeRange(SMALLEST, LARGEST),
    multiple=True,
    default=(1500,),
    show_default=True,
    metavar="BYTES",
    help="Send IP packets of this size. Repeatable.",
)
@click.option(
    "--flows",
    type=click.Choice(["many", "one", "both"]),
    default="both",
    show_default=True,
    help="Send many 4-tuples, one, or both in turn.",
)
@click.option(
    "--steering",
    "steerings",
    type=click.Choice(["hash", "cpu", "random", "spread"]),
    multiple=True,
    help="Measure only this steering. Repeatable.  [default: all]",
)
@click.option(
    "--workers",
    type=WholeRange(1, 256),
    multiple=True,
    metavar="N",
    help="Measure with N sockets. Repeatable.  [default: 1 to the number of CPUs]",
)
@click.option(
    "--senders",
    type=WholeRange(1, 64),
    metavar="N",
    help="Start N sending processes.  [default: half the number of CPUs]",
)
@click.option(
    "--flood", is_flag=True, help="Send as fast as possible, even if most datagrams are dropped."
)
@click.option(
    "--figure",
    type=NEW_OUTPUT,
    default=Path("udp-scaling.svg"),
    show_default=True,
    metavar="FILE",
    help="Draw throughput over sockets to this file, .svg or .png.",
)
@click.option("--no-figure", is_flag=True, help="Draw no figure.")
@click.option(
    *("-o", "--output"),
    type=NEW_OUTPUT,
    metavar="FILE",
    help="Write the results to this file as JSON.",
)
@json_options()
def udp(
    *,
    seconds: float,
    rounds: int,
    sizes: tuple[int, ...],
    flows: str,
    steerings: tuple[str, ...],
    workers: tuple[int, ...],
    senders: int | None,
    flood: bool,
    figure: Path,
    no_figure: bool,
    output: Path | None,
    format_: str,
) -> None:
    """Measure how a UDP forwarder scales over sockets.

    Measures 1 to as many sockets as there are CPUs, with four ways to choose the socket. Then
    sends keep-alives of a control session to the group, and shows which sockets they reach.
    """
    from locality.lab.udp_cases import cases, merged
    from locality.lab.udp_control import hold_sessions
    from locality.lab.udp_experiment import allowed_cpus, open_udp_lab, run
    from locality.lab.udp_results import (
        UDP_NOTES,
        case_line,
        circumstances,
        control_lines,
        notes,
        result_table,
        to_json,
        write_json,
    )
    from locality.lab.udp_sender import FLOWS
    from locality.lab.udp_steering import STEERINGS

    counts = sorted(set(workers)) or list(range(1, len(allowed_cpus()) + 1))
    wanted = cases(
        counts,
        sorted(set(sizes)),
        [one for one in STEERINGS if one in (steerings or STEERINGS)],
        FLOWS if flows == "both" else (flows,),
    )
    text = format_ == "text"
    console = table_console(beside=not text)
    measured: list[Result] = []
    with open_udp_lab(max(*counts, 2), senders) as udp_lab:
        for line in circumstances(udp_lab, flood=flood):
            console.print(line)
        for one in run(udp_lab, wanted, seconds=seconds, rounds=rounds, flood=flood):
            measured.append(one)
            console.print(case_line(len(measured), rounds * len(wanted), one))
        results = merged(measured)
        control = hold_sessions(udp_lab, max(*counts, 2))
        found = to_json(udp_lab, results, control, flood=flood)
    if text:
        console.print()
        console.print(result_table(results))
        show(["", *UDP_NOTES, "", *notes(results), "", *control_lines(control)])
    else:
        show([json.dumps(found)])
    if output is not None:
        write_json(found, output)
        tell(f"results written to {output}")
    if not no_figure:
        from locality.lab.udp_figure import draw, save

        save(draw(results, shared_from=udp_lab.shared_from), figure)
        tell(f"figure written to {figure}")


@lab.command("trial")
@click.option(
    "--block",
    type=SECONDS,
    default=0.5,
    show_default=True,
    help="Set the length of a block of time.",
)
@click.option(
    "--pairs",
    type=WholeRange(6, 1000),
    metavar="N",
    default=8,
    show_default=True,
    help="Compare N pairs of blocks each time.",
)
@click.option(
    "--workers",
    type=WholeRange(2, 64),
    metavar="N",
    default=4,
    show_default=True,
    help="Start at most N nginx workers.",
)
@click.option(
    *("-o", "--output"),
    type=NEW_OUTPUT,
    metavar="FILE",
    help="Write the results to this file as JSON.",
)
@json_options()
def lab_trial(*, block: float, pairs: int, workers: int, output: Path | None, format_: str) -> None:
    """Try whether the map helps nginx in the lab.

    Compares the map with the hash, with blocks of time in random order: small and large answers,
    one request and several in a connection. The hash against itself and a reversed map show what
    the method is worth. So does a server whose remote reads take 50 us longer on purpose. Exit
    code 3: the trial did not find these 50 us.
    """
    from locality.lab.experiment import open_lab
    from locality.lab.trial_experiment import Length, run
    from locality.lab.trial_results import (
        closing,
        injected_is_found,
        line,
        machine_facts,
        opening,
        tables,
        to_json,
    )
    from locality.lab.udp_results import write_json
    from locality.lab.wires import best_wire

    console = table_console(beside=format_ != "text")
    found = []
    with open_lab(workers, best_wire()) as opened:
        machine = machine_facts(opened)
        for text in opening(machine):
            console.print(text)
        for shown in run(opened, Length(block, pairs), tell):
            found.append(shown)
            if text := line(shown):
                console.print(text)
    document = to_json(machine, found)
    for table in tables(found):
        console.print()
        console.print(table)
    console.print()
    for text in closing(found):
        console.print(text)
    if format_ == "json":
        show([json.dumps(document)])
    if output is not None:
        write_json(document, output)
        tell(f"results written to {output}")
    if not injected_is_found(found):
        raise LocalityError(
            "the cost that was put in was not found: a busy machine needs more pairs", exit_code=3
        )
