"""The kinds of measurement, and where each has its parts.

A kind is a folder and an entry in `KINDS`; an output format is a class and an entry in the kind's
`outputs`. What the kinds share (recording, reporting, dashboard, the commands) finds the parts
here. Nothing is imported before it is called for: a command that prints text pays for no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from locality.machine.capabilities import NEEDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from locality.bpf.ladder import Rung
    from locality.dashboard.screen import Dashboard
    from locality.dataset.facts import Contents
    from locality.machine.topology import Topology
    from locality.recording.columns import Column
    from locality.recording.format import Meta, Stored
    from locality.recording.reader import Reader
    from locality.recording.recording import Aggregate
    from locality.recording.writer import Recorder
    from locality.reporting.blocks import KindReport
    from locality.stream import Output

T = TypeVar("T")


class Lazy(Generic[T]):
    """Something in a module of this package that is imported when it is called for.

    Args:
        place: ``accept.text:TextAccept``: the module below `locality`, and the name in it. A
            module alone is what is meant.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def get(self) -> T:
        """It."""
        module, _, name = self.place.partition(":")
        found: Any = import_module(f"locality.{module}")
        value: T = getattr(found, name) if name else found
        return value


class Kind(NamedTuple):
    """One kind of measurement.

    Attributes:
        name: The command's, and the word for it in recordings.
        summary: A sink that adds a run up; made for a machine (`Topology`).
        summary_lines: What a summary says; with ``by`` where the kind's outputs take that, too.
        outputs: By ``--format``, what prints batches; made for a file and a machine.
        dashboard: ``--live``; made for a machine, a header, a console, and the options of outputs.
        columns: Of a recording.
        recorder: Writes a recording.
        require: Raises LocalityError for a batch of a recording that no recorder writes.
        timed: Plays one: its batches, each with the seconds after the start at which it came.
        frames: Its DataFrames by name.
        report: What `locality report` says of one.
        aggregate: What the report needs of one, if not its DataFrames.
        stored: How a recording keeps its rows, where that is not the rows themselves.
        recorded: What a recording holds, in words.
        rungs: The kinds of probe that can be used, best first; None for a kind without probes of
            its own.
        source: Opens the source; with a rung's name, on that rung alone. None as there.
        keeps: The capabilities that a run goes on to need when its probes are attached.
        row_is_event: Whether each row of a recording is an event, and not each batch.
        main_row: The kind of rows that a recording has most of, where that is known.
        dataset: What a recording puts into a data set; None for a kind that does not.
    """

    name: str
    summary: Lazy[Callable[[Topology], Any]]
    summary_lines: Lazy[Callable[..., Iterator[str]]]
    outputs: Mapping[str, Lazy[type[Output[Any]]]]
    dashboard: Lazy[Callable[..., Dashboard[Any]]]
    columns: Lazy[Sequence[Column]]
    recorder: Lazy[type[Recorder]]
    require: Lazy[Callable[[pa.RecordBatch], Any]]
    timed: Lazy[Callable[[Reader, float], Iterable[tuple[float, Any]]]]
    frames: Lazy[Callable[[Sequence[pa.RecordBatch], Meta], Mapping[str, Any]]]
    report: Lazy[KindReport]
    recorded: str
    rungs: Lazy[Sequence[Rung]] | None = None
    source: Lazy[Callable[..., Any]] | None = None
    stored: Lazy[Stored] | None = None
    aggregate: Lazy[type[Aggregate]] | None = None
    # bpf(2) tells of skipped runs; before Linux 5.19 it answers nobody without CAP_BPF.
    keeps: tuple[str, ...] = ("CAP_BPF",)
    row_is_event: bool = False
    main_row: str = ""
    dataset: Lazy[type[Contents]] | None = None


ACCEPT = Kind(
    name="accept",
    summary=Lazy("accept.summary:AcceptSummary"),
    summary_lines=Lazy("accept.text:summary_lines"),
    outputs={
        "text": Lazy("accept.text:TextAccept"),
        "classic": Lazy("accept.text:ClassicAccept"),
        "json": Lazy("accept.records:JsonAccept"),
        "csv": Lazy("accept.records:CsvAccept"),
    },
    rungs=Lazy("accept.source:RUNGS"),
    source=Lazy("accept.source:AcceptSource"),
    dashboard=Lazy("accept.dashboard:AcceptDashboard"),
    columns=Lazy("accept.columns:COLUMNS"),
    recorder=Lazy("accept.recording:AcceptRecorder"),
    require=Lazy("accept.recording:require"),
    timed=Lazy("accept.recording:timed_accepts"),
    frames=Lazy("accept.frames:frames"),
    aggregate=Lazy("accept.aggregate:AcceptAggregate"),
    report=Lazy("accept.report"),
    dataset=Lazy("accept.dataset:AcceptContents"),
    recorded="accepted connections",
    row_is_event=True,
)

SKB = Kind(
    name="skb",
    summary=Lazy("summary:Summary"),
    summary_lines=Lazy("skb.text:summary_lines"),
    outputs={
        "text": Lazy("skb.text:TextSkb"),
        "classic": Lazy("skb.text:ClassicSkb"),
        "json": Lazy("skb.records:JsonSkb"),
        "csv": Lazy("skb.records:CsvSkb"),
    },
    rungs=Lazy("skb.source:RUNGS"),
    source=Lazy("skb.source:SkbSource"),
    dashboard=Lazy("skb.dashboard:SkbDashboard"),
    columns=Lazy("skb.columns:COLUMNS"),
    recorder=Lazy("skb.recording:SkbRecorder"),
    require=Lazy("skb.recording:rows_by_kind"),
    stored=Lazy("skb.stored"),
    main_row="pair",
    timed=Lazy("skb.recording:timed_intervals"),
    frames=Lazy("skb.frames:frames"),
    aggregate=Lazy("skb.aggregate:SkbAggregate"),
    report=Lazy("skb.report"),
    dataset=Lazy("skb.dataset:SkbContents"),
    recorded="intervals of packet counts",
)

UDP = Kind(
    name="udp",
    summary=Lazy("summary:Summary"),
    summary_lines=Lazy("udp.text:summary_lines"),
    outputs={
        "text": Lazy("udp.text:TextUdp"),
        "json": Lazy("udp.records:JsonUdp"),
        "csv": Lazy("udp.records:CsvUdp"),
    },
    rungs=Lazy("udp.source:RUNGS"),
    source=Lazy("udp.source:UdpSource"),
    dashboard=Lazy("udp.dashboard:UdpDashboard"),
    columns=Lazy("udp.columns:COLUMNS"),
    recorder=Lazy("udp.recording:UdpRecorder"),
    require=Lazy("udp.recording:rows_by_kind"),
    timed=Lazy("udp.recording:timed_datagrams"),
    frames=Lazy("udp.frames:frames"),
    report=Lazy("udp.report"),
    dataset=Lazy("udp.dataset:UdpContents"),
    recorded="intervals of datagram counts",
    # It looks for groups again and again.
    keeps=NEEDS["udp"],
)

TOP = Kind(
    name="top",
    summary=Lazy("summary:Summary"),
    summary_lines=Lazy("top.text:summary_lines"),
    outputs={
        "text": Lazy("top.text:TextTop"),
        "json": Lazy("top.records:JsonTop"),
        "csv": Lazy("top.records:CsvTop"),
    },
    rungs=Lazy("top.source:RUNGS"),
    source=Lazy("top.source:TopSource"),
    dashboard=Lazy("top.dashboard:TopDashboard"),
    columns=Lazy("top.columns:COLUMNS"),
    recorder=Lazy("top.recording:TopRecorder"),
    require=Lazy("top.recording:rows_by_kind"),
    timed=Lazy("top.recording:timed_intervals"),
    frames=Lazy("top.frames:frames"),
    report=Lazy("top.report"),
    dataset=Lazy("top.dataset:TopContents"),
    recorded="intervals of read counts",
)

COST = Kind(
    name="cost",
    summary=Lazy("summary:Summary"),
    summary_lines=Lazy("cost.text:summary_lines"),
    outputs={
        "text": Lazy("cost.text:TextCost"),
        "json": Lazy("cost.records:JsonCost"),
        "csv": Lazy("cost.records:CsvCost"),
    },
    rungs=Lazy("cost.source:RUNGS"),
    source=Lazy("cost.source:CostSource"),
    dashboard=Lazy("cost.dashboard:CostDashboard"),
    columns=Lazy("cost.columns:COLUMNS"),
    recorder=Lazy("cost.recording:CostRecorder"),
    require=Lazy("cost.recording:rows_by_kind"),
    timed=Lazy("cost.recording:timed_intervals"),
    frames=Lazy("cost.frames:frames"),
    report=Lazy("cost.report"),
    dataset=Lazy("cost.dataset:CostContents"),
    recorded="intervals of times of reads",
)

CONNECTIONS = Kind(
    name="connections",
    summary=Lazy("connections.summary:ConnectionSummary"),
    summary_lines=Lazy("connections.text:summary_lines"),
    outputs={
        "text": Lazy("connections.text:TextConnections"),
        "json": Lazy("connections.records:JsonConnections"),
        "csv": Lazy("connections.records:CsvConnections"),
    },
    rungs=Lazy("connections.source:RUNGS"),
    source=Lazy("connections.source:ConnectionSource"),
    dashboard=Lazy("connections.dashboard:ConnectionDashboard"),
    columns=Lazy("connections.columns:COLUMNS"),
    recorder=Lazy("connections.recording:ConnectionRecorder"),
    require=Lazy("connections.recording:require"),
    timed=Lazy("connections.recording:timed_connections"),
    frames=Lazy("connections.frames:frames"),
    aggregate=Lazy("connections.aggregate:ConnectionAggregate"),
    report=Lazy("connections.report"),
    recorded="connections that ended",
    row_is_event=True,
)

#: Its command runs it by itself; it is a kind for what becomes of its recordings.
TRIAL = Kind(
    name="trial",
    summary=Lazy("trial.batch:TrialSummary"),
    summary_lines=Lazy("trial.text:summary_lines"),
    outputs={
        "text": Lazy("trial.text:TextTrial"),
        "json": Lazy("trial.records:JsonTrial"),
        "csv": Lazy("trial.records:CsvTrial"),
    },
    dashboard=Lazy("trial.dashboard:TrialDashboard"),
    columns=Lazy("trial.columns:COLUMNS"),
    recorder=Lazy("trial.recording:TrialRecorder"),
    require=Lazy("trial.recording:rows_by_kind"),
    timed=Lazy("trial.recording:timed_parts"),
    frames=Lazy("trial.frames:frames"),
    report=Lazy("trial.report"),
    dataset=Lazy("trial.dataset:TrialContents"),
    recorded="parts of a trial",
)

#: `locality spread` is none of them: it acts, and counts what it did.
KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in (ACCEPT, CONNECTIONS, SKB, UDP, TOP, COST, TRIAL)
}
