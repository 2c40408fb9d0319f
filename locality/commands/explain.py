"""The command that says why connections are not local. Like `locality.cli`: no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locality.commands.doctor import put_back_from
from locality.commands.options import AT_LEAST_ONE, OUTPUT, PORT, SECONDS, json_options
from locality.commands.output import show, tell
from locality.errors import LocalityError

if TYPE_CHECKING:
    from locality.explain.observe import Observation, Observer
    from locality.explain.remedies import Remedy

#: The exit status where --apply did not improve anything.
EXIT_NO_BETTER = 3


@click.command()
@click.option("--port", type=PORT, help="The server's TCP port.")
@click.option("--netns", type=AT_LEAST_ONE, metavar="INODE", help="Its network namespace.")
@click.option(
    "--duration", type=SECONDS, default=3.0, show_default=True, metavar="S", help="How long."
)
@click.option("--apply", "apply_", is_flag=True, help="Do the best of it, and measure again.")
@click.option("--undo-file", type=OUTPUT, metavar="FILE", help="With --apply: a new file.")
@click.option(
    "--undo",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Put back what FILE says; with --apply: afterwards.",
)
@json_options()
def explain(
    *,
    port: int | None,
    netns: int | None,
    duration: float,
    apply_: bool,
    undo_file: Path | None,
    undo: str | None,
    format_: str,
) -> None:
    """Say why connections are not accepted where they are received, and what to do.

    Every such connection gets one cause, each cause the command that puts it right and the
    accept-local that this predicts. --apply does the best of what can be taken back, and shows
    what it predicted and what was measured. Exit status 3: it did not improve.
    """
    if undo:
        if port is not None or apply_:
            raise click.UsageError("--undo FILE goes alone; --apply --undo undoes itself")
        put_back_from(Path(undo))
        return
    if port is None:
        raise click.UsageError("--port says which server, --undo FILE what to put back")
    if (undo is not None or undo_file is not None) and not apply_:
        raise click.UsageError("--undo-file, and --undo without a file, go with --apply")

    from locality.explain import text as explain_text
    from locality.explain.observe import observing
    from locality.explain.remedies import best, remedies

    with observing(port, netns) as observer:
        before = observer.observe(duration)
        now = observer.situation(before)
        found = remedies(now)
        document: dict[str, Any] = {"before": explain_text.as_object(before, found)}
        if format_ == "text":
            show(explain_text.seen_lines("before" if apply_ else "seen", before))
            show(explain_text.cause_lines(before, found))
        chosen = best(now, found) if apply_ else None
        after = None
        if chosen:
            after = _try(observer, before, chosen, duration, undo_file, back=undo is not None)
            document |= explain_text.applied_object(chosen, before, after)
            if format_ == "text":
                show(explain_text.applied_lines(chosen, before, after))
    if format_ == "json":
        click.echo(json.dumps(document, indent=2))
    if apply_ and before.attribution.causes:
        _require_better(before, after)


def _require_better(before: Observation, after: Observation | None) -> None:
    """Raise LocalityError, with exit status 3, if nothing was applied or nothing improved."""
    from locality.steering.verify import Outcome

    what = "nothing to apply promises more"
    if after is not None:
        outcome = after.since(before)
        if outcome is Outcome.BETTER:
            return
        what = "accept-local did not improve"
        if outcome is Outcome.WORSE:
            what = "accept-local got worse: the change was taken back"
    raise LocalityError(what, exit_code=EXIT_NO_BETTER)


def _try(
    observer: Observer,
    before: Observation,
    remedy: Remedy,
    seconds: float,
    undo_file: Path | None,
    *,
    back: bool,
) -> Observation:
    """Apply a remedy, and measure again; what made it worse is taken back."""
    from locality.changes.system import this_system
    from locality.changes.undo import apply
    from locality.changes.undo_file import default_undo_file

    file = undo_file or default_undo_file()
    failed = apply(remedy.changes, file, this_system())
    for failure in failed:
        tell(f"not changed: {failure}")
    tell(f"{len(remedy.changes) - len(failed)} changed; back: locality undo {file}")
    from locality.steering.verify import Outcome

    try:
        observer.watch.settle()
        after = observer.observe(seconds)
        back = back or after.since(before) is Outcome.WORSE
        return after
    finally:
        if back:
            put_back_from(file)
