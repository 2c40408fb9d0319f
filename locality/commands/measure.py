"""One run of any kind of measurement: from a source, or a recording, to what the user asked for."""

from __future__ import annotations

import platform
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import click

from locality.commands.console import zone
from locality.commands.lines import end, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from locality.bpf.ladder import Attachment
    from locality.commands.options import Shown, Traced
    from locality.dashboard.screen import Header
    from locality.kinds import Kind
    from locality.machine.topology import Topology
    from locality.stream import Sink, Source

    class MeasuringSource(Source[Any], Protocol):
        """A source whose probes are attached."""

        attachment: Attachment


#: So many pids are named on a line.
_NAMED = 8


class Subject(NamedTuple):
    """What a run measures, for people and for the recording.

    Attributes:
        title: ``accepts of port 80``.
        filter: What was asked for, in words; ``everything``.
        comm: The threads it looks at; said if there are none yet.
        pids: The processes it looks at; said if others serve their sockets.
        interval: Seconds between readings of the counters; None for events.
        clock_offset: The source's own, if it has one; see `locality.recording.format.Meta`.
        ports: The local ports it looks at; said if nobody serves one of them.
        protocols: Of tcp and udp: those of which it looks at these ports.
        netns: The inode of the network namespace it looks at; None for all.
        connected: Whether it also sees connections that were made before.
    """

    title: str
    filter: str = "everything"
    comm: str | None = None
    pids: tuple[int, ...] = ()
    interval: float | None = None
    clock_offset: int | None = None
    ports: tuple[int, ...] = ()
    protocols: tuple[str, ...] = ("tcp",)
    netns: int | None = None
    connected: bool = False


def measure(
    kind: Kind,
    source: MeasuringSource,
    machine: Topology,
    subject: Subject,
    traced: Traced,
    *,
    count: int | None = None,
    by: str | None = None,
    **options: Any,  # noqa: ANN401 - of the kind's outputs
) -> None:
    """Hand a source's batches to all that was asked for, then print the summary.

    Args:
        kind: What is measured.
        source: Its probes are attached.
        machine: This machine's CPUs.
        subject: What is measured, in words.
        traced: How to print and record, and when to end.
        count: End after so many events.
        by: What a row is, of the outputs and of the summary, where the kind offers a choice.
        options: More arguments for the kind's output.
    """
    from locality.machine.privileges import FILES, keep_only
    from locality.stream import stream

    shown = traced.shown
    if shown.summary:
        tell_attachment(source.attachment, subject.title)
        tell_whom(subject)
    # In two steps, for the threads that libraries start keep what there is when they are loaded;
    # files are made only then, perhaps in a directory of another user.
    files = (traced.record, traced.ready_file, shown.svg) != (None, None, None)
    keep_only([*kind.keeps, *FILES] if files else kind.keeps)
    summary = kind.summary.get()(machine)
    grouped = {} if by is None else {"by": by}
    sinks: list[Sink[Any]] = [summary] if shown.summary else []
    with ExitStack() as stack:
        if traced.record is not None:
            from locality.recording.format import Meta

            meta = Meta.here(
                *(kind.name, source.attachment, machine),
                wanted=subject.filter,
                clock_offset=subject.clock_offset,
                interval=subject.interval,
            )
            recorder = kind.recorder.get()(traced.record, meta, force=traced.force)
            sinks.append(stack.enter_context(recorder))

        def header() -> Header:
            return header_of(source.attachment, subject.filter)

        if shown.lines:
            sink = output(kind, machine, shown, header, **options, **grouped)
            sinks.append(stack.enter_context(sink))
        # The picture is written at the end.
        kept = kind.keeps if shown.svg is None else (*kind.keeps, *FILES)
        stream(
            *(source, sinks),
            duration=traced.duration,
            count=count,
            ready_file=traced.ready_file,
            settled=partial(keep_only, kept),
        )
    if shown.summary:
        end(kind.summary_lines.get()(summary, **grouped), shown.format)


@contextmanager
def output(
    kind: Kind,
    machine: Topology,
    shown: Shown,
    header: Callable[[], Header],
    **options: Any,  # noqa: ANN401 - of the kind's outputs
) -> Iterator[Sink[Any]]:
    """The sink that the user asked for: a dashboard, or one of the kind's formats.

    Args:
        kind: Whose batches.
        machine: The CPUs that were measured.
        shown: How to print.
        header: The dashboard's, made if there is one.
        options: More arguments for the kind's output.
    """
    if not shown.live:
        yield kind.outputs[shown.format].get()(sys.stdout, machine, **options)
        return
    from rich.console import Console

    with kind.dashboard.get()(machine, header(), Console(), **options) as dashboard:
        yield dashboard
    if shown.svg is not None:
        dashboard.save_svg(shown.svg)


def header_of(attachment: Attachment, wanted: str) -> Header:
    """The dashboard's header for a measurement of this machine."""
    from locality.dashboard.screen import Header

    return Header(
        platform.node(), platform.release(), attachment.name, wanted, attachment.rung.note
    )


def tell_attachment(attachment: Attachment, what: str) -> None:
    """What is measured, on which rung, by which engine, and why not on a better rung.

    Args:
        attachment: What the source attached.
        what: What it measures.
    """
    engine = f" by engine {attachment.engine} ({attachment.why})" if attachment.why else ""
    why = "".join(f"; {refusal.rung}: {refusal.answer}" for refusal in attachment.refused)
    tell(f"{what}, on rung {attachment.rung.name}{engine}{why}{zone()}")
    if attachment.rung.note:
        tell(attachment.rung.note)


def tell_whom(subject: Subject) -> None:
    """Whether there is anybody to look at: threads of that name, processes and ports that serve."""
    if subject.ports:
        from locality.reuseport.unserved import unserved

        looked = subject.protocols, subject.netns
        for line in unserved(subject.ports, *looked, connected=subject.connected):
            tell(line)
    if subject.comm is not None:
        from locality.machine.processes import has_thread_named

        if not has_thread_named(subject.comm):
            tell(f"no thread is called {subject.comm!r} yet: waiting for one")
    for pid in subject.pids:
        from locality.reuseport.target import listeners_of
        from locality.reuseport.workers import of_others

        others = of_others(pid, listeners_of(pid))
        if others and not {*others} <= {*subject.pids}:
            named = " ".join(f"--pid {other}" for other in others[:_NAMED])
            more = f" and {len(others) - _NAMED} more" * (len(others) > _NAMED)
            tell(f"pid {pid} serves none of its sockets itself: others do, give {named}{more}")


def check_shown(outputs: Collection[str], shown: Shown, *, matrix: bool = False) -> None:
    """Whether what was asked for fits together, and the terminal.

    Args:
        outputs: The formats there are.
        shown: How to print.
        matrix: Print a matrix.

    Raises:
        click.UsageError: It does not; says what does.
    """
    if shown.svg is not None and not shown.live:
        raise click.UsageError("--svg keeps the last picture of --live: give both")
    if shown.live and shown.format != "text":
        raise click.UsageError(f"--live and --format {shown.format} are two outputs: choose one")
    if shown.live and not sys.stdout.isatty():
        *most, last = outputs
        raise click.UsageError(
            "--live draws on a terminal, and standard output is none: use --format "
            f"{', '.join(most)} or {last}"
        )
    if matrix and (shown.live or shown.format in {"classic", "csv"}):
        where = "--live" if shown.live else f"--format {shown.format}"
        raise click.UsageError(f"--matrix does not go with {where}: use --format text or json")
