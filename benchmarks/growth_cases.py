"""What is measured of growth: figures of jobs, in parts, with their goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIDES = ("before", "after")


@dataclass(frozen=True)
class Wanted:
    """A figure of a job.

    Attributes:
        key: What the job calls it.
        text: What it is, for people.
        unit: Of its values.
        goal: The most it should be; None for no goal.
        stated: What it was before as measured earlier, where that version is not run again.
    """

    key: str
    text: str
    unit: str
    goal: float | None = None
    stated: float | None = None


@dataclass(frozen=True)
class Case:
    """A job that is measured on both sides.

    Attributes:
        job: Words of `growth_data_jobs` or `growth_live_jobs`; ``{file}`` begins a file's name of
            its side, ``{before}`` one of the side before.
        figures: What is kept of it.
        rounds: How often.
        sides: Where it can be run.
    """

    job: str
    figures: tuple[Wanted, ...]
    rounds: int = 5
    sides: tuple[str, ...] = SIDES

    @property
    def name(self) -> str:
        """In the file of what was measured."""
        return self.job


def _recording_cases() -> Iterator[Case]:
    kinds = {
        "all": "all pairs, as by chance around 2 packets",
        "busy": "all pairs, 1 to 499 packets",
        "some": "a tenth of the pairs, around 100 packets",
    }
    goals = {64: 15.0, 512: 600.0}
    for cpus in (64, 512):
        for kind, words in kinds.items():
            size = Wanted(
                "MB an hour", f"`skb --record`, {cpus} CPUs, {words}", "MB/hour", goals[cpus]
            )
            time = Wanted("ms an interval", f"CPU time of it, {cpus} CPUs", "ms/interval")
            least = Wanted("least", "its entropy: no file can be smaller", "MB/hour")
            figures = (size, least, time) if kind == "all" else (size, least)
            yield Case(f"record-skb {{file}}-{kind}-{cpus} {cpus} {kind} 20", figures, 3)
    yield Case(
        "record-accepts {file}-accepts-1e6 1000000",
        (
            Wanted("bytes each", "`accept --record`, size of a connection", "bytes"),
            Wanted("us each", "CPU time of it", "us"),
            Wanted("MB", "memory of it", "MB"),
        ),
        3,
    )
    yield Case("record-accepts {file}-accepts-5e3 5000", (), 1)
    yield Case("record-accepts {file}-accepts-1e7 10000000", (), 1)


def _page_and_numbers(
    what: str,
    files: str,
    goals: tuple[float | None, float | None],
    **more: Any,  # noqa: ANN401 - of the case
) -> Case:
    return Case(
        f"report-page {{file}}.html {files}",
        (
            Wanted("s", f"`report` of {what}", "s", goals[0]),
            Wanted("MB", "memory of it", "MB", goals[1]),
        ),
        **more,
    )


def _reading(what: str, files: str, goal: float | None, **more: Any) -> Case:  # noqa: ANN401
    words = f"`report` of {what}, Markdown without figures"
    return Case(f"report-numbers {{file}}.md {files}", (Wanted("s", words, "s", goal),), **more)


def _live_cases() -> Iterator[tuple[str, tuple[Case, ...]]]:
    """What needs the running kernel."""
    after = ("after",)
    yield (
        "groups",
        (
            _dry_run(200, 0, 0.6, sides=after, stated=5.6),
            _dry_run(1_000, 0, 2, rounds=3, sides=after, stated=58),
            _dry_run(200, 2_000, None, rounds=3, sides=after, stated=18.5),
            _follow(1, 0, 5),
            _follow(100, 0, 10),
            _follow(1_000, 0, 50, sides=after, stated=286),
            _follow(1, 2_000, None, sides=after, stated=121),
        ),
    )
    yield (
        "maps",
        tuple(
            Case(
                f"nearest {cpus}",
                (
                    Wanted("ms", f"nearest map of {cpus:,} CPUs by node", "ms"),
                    Wanted("preflight ms", f"checks before attaching it, {cpus:,} CPUs", "ms"),
                ),
            )
            for cpus in (512, 1024)
        ),
    )
    yield (
        "packets",
        tuple(
            Case(
                f"skb-read {cpus}",
                (
                    Wanted("ms", f"`skb`, a reading where {cpus:,} CPUs are possible", "ms"),
                    Wanted("MB", "memory of it", "MB", goal),
                ),
                sides=sides,
            )
            for cpus, goal, sides in ((512, 60, SIDES), (1024, None, SIDES), (4096, None, after))
        ),
    )
    commands = {
        "accept": 120.0,
        "skb": 125.0,
        "groups": 110.0,
        "--help": 50.0,
    }
    yield (
        "start",
        tuple(
            Case(
                f"start {name}",
                (Wanted("ms", f"`locality {name}`, CPU time", "ms", goal),),
                rounds=9,
            )
            for name, goal in commands.items()
        )
        + tuple(
            Case(f"floor {of}", (Wanted("ms", text, "ms"),), rounds=9, sides=("after",))
            for of, text in {
                "imports": "floor of all that measure: Python that imports click and numpy",
                "accept": "floor of `accept`: Python that loads its programs by ctypes, no more",
                "skb": "floor of `skb`: Python that loads its programs by ctypes, no more",
            }.items()
        ),
    )
    yield (
        "steady",
        (
            Case(
                "workers 1000000",
                (Wanted("MB", "`accept`, growth of memory by a million workers that ended", "MB"),),
                3,
            ),
            *(
                Case(
                    f"full-ring {format_}",
                    (Wanted("MB", f"`accept --format {format_}`, growth by one full ring", "MB"),),
                    3,
                )
                for format_ in ("text", "json")
            ),
            *(
                Case(
                    f"udp 4000 {format_}",
                    (
                        Wanted(
                            "ms/s",
                            f"`udp --format {format_}`, a group of 4,000 busy sockets",
                            "ms/s",
                        ),
                    ),
                    3,
                )
                for format_ in ("text", "json")
            ),
        ),
    )


def _dry_run(
    groups: int,
    processes: int,
    goal: float | None,
    stated: float | None = None,
    **more: Any,  # noqa: ANN401 - of the case
) -> Case:
    what = f"`attach-cbpf --dry-run`, {groups:,} groups{_beside(processes)}"
    figures = (Wanted("s", what, "s", goal, stated), Wanted("MB", "memory of it", "MB"))
    return Case(f"dry-run {groups} {processes}", figures, **{"rounds": 3, **more})


def _follow(
    groups: int,
    processes: int,
    goal: float | None,
    stated: float | None = None,
    **more: Any,  # noqa: ANN401 - of the case
) -> Case:
    counted = f"{groups:,} groups" if groups > 1 else "a group"
    what = f"`attach-cbpf --follow` where nothing happens, {counted}{_beside(processes)}"
    begins = Wanted("s", "CPU time until it follows", "s", 2 if groups == 1_000 else None)
    figures = (Wanted("ms/s", what, "ms/s", goal, stated), begins)
    return Case(f"follow {groups} {processes}", figures, **{"rounds": 3, **more})


def _beside(processes: int) -> str:
    return f", beside {processes:,} processes" if processes else ""


PARTS: Mapping[str, tuple[Case, ...]] = {
    **dict(_live_cases()),
    "recordings": (*_recording_cases(),),
    "reports": (
        _page_and_numbers("5,000 accepts", "{file}-accepts-5e3", (1.2, None)),
        _page_and_numbers("20 intervals of packets, 512 CPUs", "{file}-all-512", (None, 350)),
        _reading("20 intervals of packets, 512 CPUs", "{file}-all-512", 2),
        Case(
            "report-numbers {file}.md {before}-all-512",
            (Wanted("s", "the same of a recording of the version before", "s"),),
            sides=("after",),
        ),
    ),
    "long": (_page_and_numbers("10 million accepts", "{file}-accepts-1e7", (None, 600), rounds=3),),
    "longest": (
        Case("record-accepts {file}-accepts-5e7 50000000", (), 1),
        Case(
            "report-page {file}.html {file}-accepts-5e7",
            (
                Wanted("s", "`report` of 50 million accepts", "s"),
                Wanted("MB", "memory of it", "MB", 600),
            ),
            1,
        ),
    ),
    "frames": (
        Case(
            "load {file}-accepts-1e7",
            (
                Wanted("s", "`locality.load` of 10 million accepts", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
        ),
        Case(
            "load {file}-accepts-1e7 time cpu rxcpu",
            (
                Wanted("s", "`locality.load` of three columns of it", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
            ("after",),
        ),
        Case(
            "chunks {file}-accepts-1e7",
            (
                Wanted("s", "`locality.load_chunks` of it, all columns", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
            ("after",),
        ),
        Case(
            "load {file}-all-512",
            (
                Wanted("s", "`locality.load` of 20 intervals of packets, 512 CPUs", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
        ),
    ),
    "exports": tuple(
        Case(
            f"export {{file}}-accepts-1e6 {{file}}.{format_}",
            (
                Wanted("s a million", f"`export` of a million accepts as {format_}", "s"),
                Wanted("MB", "memory of it", "MB"),
            ),
            3,
        )
        for format_ in ("csv", "json", "parquet")
    ),
    "outputs": (
        *(
            Case(
                f"sink {name} {size}",
                (Wanted("us each", f"`accept --format {name}`, batches of {size:,}", "us/accept"),),
            )
            for name in ("classic", "csv", "json", "text")
            for size in (100, 1_000, 100_000)
        ),
        Case(
            "sink summary 1000",
            (Wanted("us each", "what `accept --summary` does instead", "us/accept"),),
        ),
    ),
    "figures": tuple(
        Case(
            f"hot-pairs {cpus}",
            (
                Wanted("pairs", f"hot pairs to be seen of 60, heat map of {cpus:,} CPUs", "pairs"),
                Wanted("s", "CPU time of drawing it", "s"),
            ),
            3,
        )
        for cpus in (64, 512, 1024)
    ),
}
