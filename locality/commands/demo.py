"""The command that runs the experiment. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from locality.commands.lines import show, table_console, tell
from locality.commands.numbers import WholeRange
from locality.commands.options import force_option
from locality.commands.values import OUTPUT, SECONDS, WRITABLE
from locality.errors import LocalityError

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--seconds",
    type=SECONDS,
    default=3.0,
    show_default=True,
    help="Measure each phase for this time.",
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
    "--wire",
    "wire_name",
    type=click.Choice(["tap", "veth-rps", "veth-napi", "veth"]),
    help="Connect client and server by taps with a queue for each CPU, or by a veth: with RPS, with"
    " NAPI threads, or with neither.  [default: tap where /dev/net/tun can be opened, else"
    " veth-rps]",
)
@click.option("--svg", type=WRITABLE, help="Save what was printed as SVG.")
@click.option(
    "--record",
    type=OUTPUT,
    metavar="DIR",
    help="Write recordings of each phase to DIR: PHASE.arrows and PHASE.skb.arrows.",
)
@force_option(help="Replace recordings that DIR already has.")
def demo(
    *,
    seconds: float,
    workers: int,
    wire_name: str | None,
    svg: Path | None,
    record: Path | None,
    force: bool,
) -> None:
    """Repeat the nginx experiment of 2017 in namespaces.

    Measures accepts and packets of a real nginx under load, before and after attach-cbpf, and in
    three wrong setups. It loads the CPUs of this machine for half a minute. If it cannot run here,
    it says what is missing and shows a recording. Exit code 3: a phase did not show the expected
    share.
    """
    from locality.dashboard.svg import save_svg
    from locality.lab.demo import run
    from locality.lab.expectations import Figure
    from locality.lab.experiment import open_lab
    from locality.lab.measure import measuring
    from locality.lab.results import closing, opening, phase_line
    from locality.lab.wires import best_wire

    recordings = None
    if record is not None:
        from locality.lab.recordings import Recordings

        recordings = Recordings(record, force=force)
    console = table_console(record=svg is not None)
    results = []
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(open_lab(workers, wire_name or best_wire()))
            meter = stack.enter_context(measuring(lab.server, recordings, of_server=True))
        except LocalityError as missing:
            from locality.lab.recorded import recorded_lines

            tell(f"the demo cannot run here: {missing}")
            tell("nothing below was measured here: it is a recording of a run elsewhere")
            show(recorded_lines())
            sys.exit(missing.exit_code)
        for line in opening(lab, meter, seconds):
            console.print(line)
        # Over a veth, or of the whole machine, packets do not show what the server does.
        packets_tell = lab.wire.like_card and meter.of_server
        judged = tuple(Figure) if packets_tell else (Figure.ACCEPT,)
        for result in run(lab, meter.measure, seconds=seconds, judged=judged):
            console.print(phase_line(result))
            results.append(result)
    for part in closing(results, meter):
        console.print(part)
    if svg is not None:
        save_svg(console, svg, "locality demo")
    if not all(result.as_expected for result in results):
        raise LocalityError("a phase did not show what it must: see the table above", exit_code=3)
