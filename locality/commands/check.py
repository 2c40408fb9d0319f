"""`locality check`."""

from __future__ import annotations

import sys

import click

from locality.commands.lines import show


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(*, as_json: bool) -> None:
    """Show which measurements and probe types this kernel allows.

    Loads and attaches each probe type (rung) for a moment. Exit code 1: accept or skb cannot be
    measured.
    """
    from locality.check import attempts, check_json, check_lines, engines
    from locality.machine.capabilities import held as capabilities_held

    found = attempts()
    answers = found, engines(), capabilities_held()
    show([check_json(*answers)] if as_json else check_lines(*answers))
    if not all(
        any(one.chosen for one in found if one.measurement == name) for name in ("accept", "skb")
    ):
        sys.exit(1)
