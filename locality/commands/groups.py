"""The command that shows reuseport groups. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import click

from locality.commands.options import Number, comm_option, json_options, pids_option, ports_option
from locality.commands.output import check_who, show, tell


@click.command()
@ports_option(help="Only this port; repeatable.")
@pids_option(help="Only sockets it holds; repeatable.")
@comm_option(help="Only sockets held by a process with this name, or with a thread of it.")
@click.option(
    "--look",
    type=Number(min=0, max=3600),
    metavar="S",
    default=0.25,
    show_default=True,
    help="Look S seconds by probe for the threads that /proc does not show; 0: do not.",
)
@click.option("--alone", is_flag=True, help="Also show sockets without SO_REUSEPORT.")
@json_options("table", help_="json: an object a group.")
def groups(
    *,
    ports: tuple[int, ...],
    pids: tuple[int, ...],
    comm: str | None,
    look: float,
    alone: bool,
    format_: str,
) -> None:
    """Show every SO_REUSEPORT group: its sockets in order, who serves them, its program.

    In all network namespaces in which a process lives. A worker is a thread that was seen to
    wait for a socket, to accept on it or to read from it; where none was seen, it is "?".
    """
    from locality.machine import topology
    from locality.reuseport.survey import survey
    from locality.reuseport.text import json_lines, notes, table_lines

    check_who(pids, comm)
    found = survey(ports=ports, pids=pids, comm=comm, look=look, alone=alone)
    for note in notes(found):
        tell(note)
    if format_ == "json":
        show(json_lines(found.groups))
    elif found.groups:
        show(table_lines(found.groups, topology.read().online))
    else:
        more = "" if alone else "; --alone shows sockets without SO_REUSEPORT too"
        show([f"no SO_REUSEPORT group found{more}"])
