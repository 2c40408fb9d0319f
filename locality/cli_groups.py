"""The command that shows reuseport groups. Like `locality.cli`: no logic, imports on use."""

from __future__ import annotations

import click

from locality.cli_output import show, tell
from locality.options import AT_LEAST_ONE, PORT, json_options


@click.command()
@click.option("--port", "ports", type=PORT, multiple=True, help="Only this port; repeatable.")
@click.option(
    "--pid", "pids", type=AT_LEAST_ONE, multiple=True, help="Only sockets it holds; repeatable."
)
@click.option("--comm", metavar="NAME", help="Only sockets held by threads of this name.")
@json_options("table", help_="json: an object a group.")
def groups(
    *, ports: tuple[int, ...], pids: tuple[int, ...], comm: str | None, format_: str
) -> None:
    """Show every SO_REUSEPORT group: its sockets in order, who serves them, its program.

    In all network namespaces in which a process lives.
    """
    from locality import topology
    from locality.groups import survey
    from locality.groups_text import json_lines, notes, table_lines
    from locality.processes import require_pids

    require_pids(pids)
    if comm == "":
        raise click.UsageError("--comm '' is no name")
    found = survey(ports=ports, pids=pids, comm=comm)
    for note in notes(found):
        tell(note)
    if format_ == "json":
        show(json_lines(found.groups))
    elif found.groups:
        show(table_lines(found.groups, topology.read().online))
    else:
        show(["no SO_REUSEPORT group found"])
