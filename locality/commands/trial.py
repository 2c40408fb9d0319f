"""`locality trial`. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from locality.commands.completion import words
from locality.commands.filters import netns_option
from locality.commands.numbers import Number, WholeRange
from locality.commands.options import force_option, json_options
from locality.commands.values import OUTPUT, PORT, SECONDS
from locality.errors import LocalityError

if TYPE_CHECKING:
    from pathlib import Path

#: The exit status where the guard against harm ended the trial.
EXIT_HARM = 3

_NONE_OR_SECONDS = Number(min=0, max=1e9, unit="seconds")
_TIMES = Number(min=1, max=1e6, unit="factor")
_COUNT = WholeRange(0, 1 << 40)


@click.command()
@click.option("--port", type=PORT, metavar="PORT", required=True, help="Try it on this TCP port.")
@netns_option("Try it on the listeners")
@click.option(
    "--switch",
    metavar="attach|spill[:N]|rps:DEV|COMMAND-A",
    shell_complete=words("attach", "spill", device="rps:"),
    help="Switch in blocks of time: the map to the nearest worker, the program of attach-cbpf "
    "--spill, the RPS of a device, or two commands, of which the second is the argument.  "
    "[default: a coin for each connection]",
)
@click.argument("command_b", metavar="[COMMAND-B]", required=False)
@click.option(
    "--duration",
    type=SECONDS,
    help="Run the trial for this time, which does not include --aa.  [default: 30, or 60 with "
    "--switch]",
)
@click.option(
    "--aa",
    type=_NONE_OR_SECONDS,
    default=10.0,
    show_default=True,
    help="Before the trial, compare what is there with itself for this time (A against A). 0: "
    "leave this part out.",
)
@click.option(
    "--pairs",
    type=WholeRange(1, 1 << 20),
    metavar="N",
    help="With --switch: run N pairs of blocks, however long that takes.",
)
@click.option(
    "--block",
    type=SECONDS,
    help="With --switch: set the length of a block.  [default: by the lifetimes of connections]",
)
@click.option(
    "--washout",
    type=SECONDS,
    help="With --switch: throw away this much at the beginning of each block.  "
    "[default: by the lifetimes of connections]",
)
@click.option(
    "--per",
    type=click.Choice(["connection", "packet", "byte"]),
    help="With --switch: divide CPU times by this.  [default: connection]",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME[:higher]=COMMAND",
    help="With --switch: run this command at the end of each block and compare the number that it "
    "prints. Lower is better, or higher with :higher. Repeatable.",
)
@click.option(
    "--max-overflows",
    type=_COUNT,
    metavar="N",
    default=10,
    show_default=True,
    help="Stop when N more connections than expected found an accept queue full.",
)
@click.option(
    "--max-drops",
    type=_COUNT,
    metavar="N",
    default=100,
    show_default=True,
    help="Stop when N more packets or SYNs than expected were dropped.",
)
@click.option(
    "--max-wait",
    type=_TIMES,
    default=10.0,
    show_default=True,
    help="Stop when the 99th percentile of the time in the accept queue is this many times what it "
    "was before the trial, and more than 50 ms.",
)
@click.option(
    "--max-imbalance",
    type=_TIMES,
    default=3.0,
    show_default=True,
    help="Stop when one socket gets this many times its even share of the connections.",
)
@click.option(
    "--keep-better",
    is_flag=True,
    help="Leave arm B in place if the primary outcome is better and no other is worse.",
)
@click.option(
    "--dry-run", is_flag=True, help="Look at the port and print the plan. Change nothing."
)
@click.option(
    "--seed",
    type=WholeRange(0, (1 << 32) - 1),
    metavar="N",
    help="Draw the order of the blocks from this number.  [default: a random one, printed]",
)
@click.option(
    "--undo-file",
    type=OUTPUT,
    metavar="FILE",
    help="Write the undo file here; it must not exist.  [default: locality-undo-TIME.json]",
)
@click.option(
    "--record",
    type=OUTPUT,
    metavar="FILE",
    help="Also write a recording, for info, replay, export and report.",
)
@force_option(help="Replace the file of --record if it exists.")
@json_options()
def trial(*, record: Path | None, force: bool, format_: str, **options: Any) -> None:  # noqa: ANN401 - Request names each
    """Try whether serving on the RX CPU helps, at random.

    Flips a coin for each connection to the port: the worker nearest to its RX CPU, or another one.
    Compares how long connections waited, when they were read, and what they cost. With --switch, a
    setting is switched to and fro in blocks of time. Commands run without a shell, in the
    directory /. Everything is put back at the end. Exit code 3: the trial did harm and was ended.
    """
    from locality.commands.trial_request import Request, check_record, conduct, show_result

    request = Request(**options)
    request.check()
    check_record(record, force=force)
    found = conduct(request)
    if found is None:
        return
    show_result(found, format_, record, force=force)
    if found.harm:
        raise LocalityError(f"the trial was ended: {found.harm}", exit_code=EXIT_HARM)
    if found.restored is False and found.kept is None:
        raise LocalityError("not everything is as it was before the trial: see above")
