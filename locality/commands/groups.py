"""The command that shows reuseport groups. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import click

from locality.commands.lines import check_who, show, tell
from locality.commands.numbers import Number
from locality.commands.options import comm_option, json_options, pids_option, ports_option


@click.command()
@ports_option(help="Show only groups on this port. Repeatable.")
@pids_option(help="Show only sockets that this process holds. Repeatable.")
@comm_option(help="Show only sockets of a process of this name, or with a thread of this name.")
@click.option(
    "--look",
    type=Number(min=0, max=3600, unit="seconds"),
    default=0.25,
    show_default=True,
    help="Look for this time, by a probe, for workers that /proc does not show. 0: no probe.",
)
@click.option("--alone", is_flag=True, help="Also show sockets without SO_REUSEPORT.")
@json_options("table", help_="Choose the output format. json prints an object for each group.")
def groups(
    *,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    look: float,
    alone: bool,
    format_: str,
) -> None:
    """Show SO_REUSEPORT groups: sockets, workers and program.

    Shows the groups of all network namespaces in which a process lives, with their sockets in
    order. A worker is a thread that waits for the socket, accepts on it or reads from it. If no
    such thread was found, the worker is "?".
    """
    from locality.machine import topology
    from locality.reuseport.descriptors import sees_everybody
    from locality.reuseport.survey import survey
    from locality.reuseport.text import json_lines, notes, table_lines

    check_who(pids, comm)
    found = survey(ports=ports, pids=pids, comm=comm, look=look, alone=alone)
    for note in notes(found, sees_all=sees_everybody()):
        tell(note)
    if format_ == "json":
        show(json_lines(found.groups))
    elif found.groups:
        show(table_lines(found.groups, topology.read().online))
    else:
        more = "" if alone else "; --alone shows sockets without SO_REUSEPORT too"
        show([f"no SO_REUSEPORT group found{more}"])
