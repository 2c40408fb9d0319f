"""The command that says why connections are not local. Like `locality.cli`: no logic."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from locality.commands.before_after import EXIT_NO_BETTER
from locality.commands.doctor import put_back_from
from locality.commands.filters import namespace, netns_option
from locality.commands.lines import show, tell
from locality.commands.options import json_options
from locality.commands.values import OUTPUT, PORT, SECONDS
from locality.errors import LocalityError

if TYPE_CHECKING:
    from locality.explain.observe import Observation, Observer
    from locality.explain.remedies import Remedy


@click.command()
@click.option("--port", type=PORT, metavar="PORT", help="Examine the server on this port.")
@click.option(
    "--proto",
    type=click.Choice(["tcp", "udp"]),
    help="Examine this protocol, if TCP and UDP sockets share the port.  [default: the busier one]",
)
@netns_option("Explain the server")
@click.option(
    "--duration",
    type=SECONDS,
    default=3.0,
    show_default=True,
    help="Measure for this time, and with --apply as long again afterwards.",
)
@click.option(
    "--apply",
    "apply_",
    is_flag=True,
    help="Carry out the best remedy that can be reverted, and measure again.",
)
@click.option(
    "--undo-file",
    type=OUTPUT,
    metavar="FILE",
    help="With --apply: write the undo file here; it must not exist.  "
    "[default: locality-undo-TIME.json]",
)
@click.option(
    "--undo",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Revert the changes recorded in FILE. Without FILE, with --apply: revert the change after "
    "measuring.",
)
@json_options()
def explain(  # noqa: C901 - wires
    *,
    port: int | None,
    proto: str | None,
    netns: str | None,
    duration: float,
    apply_: bool,
    undo_file: Path | None,
    undo: str | None,
    format_: str,
) -> None:
    """Explain why connections or datagrams are not local.

    A connection is local if it is accepted on the CPU that received it, a datagram if it is read
    there. All others get a cause. Each cause comes with a command that fixes it, and the share
    that this command should lead to. Exit code 3: --apply improved nothing.
    """
    if undo:
        if port is not None or apply_:
            raise click.UsageError("--undo FILE goes alone; --apply --undo undoes itself")
        put_back_from(Path(undo))
        return
    if (undo is not None or undo_file is not None) and not apply_:
        raise click.UsageError("--undo-file, and --undo without a file, go with --apply")
    if port is None:
        raise click.UsageError("give --port to examine a server, or --undo FILE to revert changes")

    from locality.explain import text as explain_text
    from locality.explain.observe import observing
    from locality.explain.remedies import best, remedies

    with observing(port, namespace(netns), proto) as observer:
        before = observer.observe(duration)
        now = observer.situation(before)
        found = {} if before.is_handed_off else remedies(now)
        document: dict[str, Any] = {"before": explain_text.as_object(before, found)}
        if format_ == "text":
            show(explain_text.seen_lines("before" if apply_ else "seen", before))
            show(explain_text.cause_lines(before, found))
        chosen = None
        if apply_ and not _is_beyond_us(before):
            chosen = best(now, found)
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


def _is_beyond_us(seen: Observation) -> bool:
    """Whether no change to the group would show in what was measured; says why."""
    from locality.steering.count import READS

    if seen.measured is READS:
        tell("not applied: nothing was accepted, and a change acts on new connections only")
    elif seen.is_handed_off:
        tell("not applied: other threads read the connections than those that accept them")
    return seen.measured is READS or seen.is_handed_off


def _require_better(before: Observation, after: Observation | None) -> None:
    """Raise LocalityError, with exit status 3, if nothing was applied or nothing improved."""
    from locality.steering.verify import Outcome

    what = "nothing to apply promises more"
    if after is not None:
        outcome = after.since(before)
        if outcome is Outcome.BETTER:
            return
        what = f"{before.measured.figure} did not improve"
        if outcome is Outcome.WORSE:
            what = f"{before.measured.figure} got worse: the change was taken back"
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
    """Apply a remedy, and measure again; what made it worse is taken back.

    With `back` all of it is taken back, whatever ends this.

    Raises:
        LocalityError: A change was refused. The others are taken back: half a remedy, such as a map
            for workers that were not pinned, is none.
    """
    from locality.changes.system import this_system
    from locality.changes.undo import make, prepare
    from locality.changes.undo_file import default_undo_file, undo_command
    from locality.steering.verify import Outcome
    from locality.stream import ending_as, interruptible

    file, system = undo_file or default_undo_file(), this_system()
    prepare(remedy.changes, file, system)
    with ending_as(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            failed = make(remedy.changes, system)
            for failure in failed:
                tell(f"not changed: {failure}")
            if failed:
                back, many = True, len(remedy.changes)
                raise LocalityError(f"{len(failed)} of {many} changes could not be made")
            tell(f"{len(remedy.changes)} changed; to revert: {undo_command(file)}")
            observer.watch.settle()
            after = observer.observe(seconds)
            back = back or after.since(before) is Outcome.WORSE
            return after
        finally:
            if back:
                with interruptible():  # a second Ctrl-C waits until it is done
                    put_back_from(file)
