"""Do the rungs of `locality skb` agree? All at once over the same packets.

    python -m validation.accuracy [KERNEL ...]      boot these kernels; a page in Markdown
    python -m validation.accuracy --here            this kernel, every row, in Markdown
    python -m validation.accuracy --here --json     the same for programs

Without arguments: all kernels that tools/boot knows.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.live.helpers.agreement import (
    CASES,
    MESSAGES,
    PACKETS_MAY_DIFFER,
    POINTS_MAY_DIFFER,
    SIZE,
    Difference,
    Seen,
    View,
    all_rungs,
    compare,
    differences,
    networks,
)
from tests.live.helpers.traffic import CPUS
from tests.vm.guest import JOINED, run
from tests.vm.kernel_images import SUITES, CannotBoot, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOOT_AND_RUN_S = 1800


@dataclass(frozen=True)
class Row:
    """One workload under all rungs of one kernel."""

    kernel: str
    cpus: int
    messages: int
    network: str
    workload: str
    place: str
    views: dict[str, View]
    differences: list[Difference]

    @classmethod
    def from_json(cls, line: str) -> Row:
        """What `json.dumps(asdict(row))` wrote."""
        fields = json.loads(line)
        views = {
            rung: View(Seen(**view["rx"]), Seen(**view["tx"]), view["lost"])
            for rung, view in fields.pop("views").items()
        }
        found = [Difference(**one) for one in fields.pop("differences")]
        return cls(**fields, views=views, differences=found)

    @property
    def name(self) -> str:
        """How a table calls it."""
        return f"{self.network}, {self.workload}, {self.place}"


def measure() -> Iterator[Row]:
    """Every case on this kernel."""
    with networks() as found, all_rungs() as sources:
        for network, workload, place in CASES:
            if network in found:
                views = compare(sources, found[network], workload, place)
                differing = differences(workload, views)
                machine = platform.release(), len(CPUS), MESSAGES
                yield Row(*machine, network, workload, place, views, differing)


def in_guest(kernel: str) -> list[Row]:
    """Every case on another kernel.

    Raises:
        CannotBoot: There can be no guest here, or it did not come to its end.
    """
    with TemporaryDirectory() as share:
        ended = run(
            kernel_image(kernel),
            shlex.join(["python", "-m", "validation.accuracy", "--here", "--json"]),
            share=Path(share),
            timeout=BOOT_AND_RUN_S,
            qemu=JOINED,
        )
    if ended.status != 0:
        raise CannotBoot(
            f"the guest with {kernel} ended with {ended.status}: {ended.output[-500:]}"
        )
    return [Row.from_json(line) for line in ended.output.splitlines()]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """A Markdown table."""
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
    yield ""


def every_figure(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each rung of each row."""
    head = ("kernel", "case", "rung", "RX", "RX local", "TX", "TX local", "unknown", "lost")
    yield from table(
        (*head, "differs"),
        (
            (
                row.kernel,
                row.name,
                rung,
                *(figure for seen in (view.rx, view.tx) for figure in (seen.packets, _local(seen))),
                view.rx.unknown + view.tx.unknown,
                view.lost,
                "; ".join(f"{one.what} ({one.why})" for one in row.differences if one.rung == rung),
            )
            for row in rows
            for rung, view in row.views.items()
        ),
    )


def page(rows: list[Row], host: list[Row]) -> Iterator[str]:
    """docs/accuracy.md: what agrees in a line, what differs in full."""
    yield from _method(rows[0])
    yield from _agreement(rows)
    yield from (
        "## A kernel that is nobody's guest",
        "",
        f"The machine that ran the guests; {host[0].messages:,} messages. Its other packets are",
        "counted too.",
        "",
    )
    yield from every_figure(host)


def _method(row: Row) -> Iterator[str]:
    yield from (
        "# Do the rungs agree?",
        "",
        "Written by `make accuracy`; do not edit.",
        "",
        f"In a QEMU guest with {row.cpus} CPUs all rungs that its kernel offers are attached at",
        "once and count the same packets: over loopback, over veth between two network",
        "namespaces, and over two virtio NICs on one cable, each in a namespace, one CPU taking",
        f"their interrupts. Ping-pong and one-way: {row.messages:,} messages; stream:",
        f"{SIZE >> 20} MiB; each with both ends on one CPU, and on two. Each row has {row.cpus}",
        "received packets more, one to each CPU, which make the kernel free what it deferred.",
        "",
        f"Two rungs agree if packets differ by {PACKETS_MAY_DIFFER:.1%} at most and local by",
        f"{POINTS_MAY_DIFFER} points, packets of unknown CPU being local or not. A measurement",
        "during which runs of a probe were lost, or that shows what nobody can explain, is",
        "repeated, three times at most.",
        "`python -m validation.accuracy --here` prints every figure of the running kernel.",
        "",
    )


def _agreement(rows: list[Row]) -> Iterator[str]:
    kernels = list(dict.fromkeys(row.kernel for row in rows))
    yield from ("## Agreement", "")
    yield from table(
        ("kernel", "rungs", "cases", "agree", "differ", "of these not explained"),
        (_summary(kernel, [row for row in rows if row.kernel == kernel]) for kernel in kernels),
    )
    yield from ("## Where they differ", "", "From the first rung of the kernel.", "")
    yield from table(
        ("kernel", "case", "rung", "what", "why"),
        (
            (row.kernel, row.name, one.rung, one.what, one.why or "**not explained**")
            for row in rows
            for one in row.differences
        ),
    )
    yield from ("## Not known", "", "Sent packets of which a rung does not see the ACK.", "")
    yield from table(
        ("kernel", "case", "rung", "TX", "unknown"),
        (
            (row.kernel, row.name, rung, f"{view.tx.packets:,}", f"{view.tx.unknown:,}")
            for row in rows
            for rung, view in row.views.items()
            if view.tx.unknown
        ),
    )
    yield from ("## Known answers", "", "As the first rung of each kernel counts them.", "")
    yield from table(
        ("case", *kernels),
        ((", ".join(case), *(_cell(rows, kernel, case) for kernel in kernels)) for case in CASES),
    )


def _summary(kernel: str, rows: list[Row]) -> tuple[object, ...]:
    differing = [row for row in rows if row.differences]
    unexplained = [row for row in differing if not all(one.why for one in row.differences)]
    rungs = ", ".join(rows[0].views)
    counts = (len(rows), len(rows) - len(differing), len(differing), len(unexplained))
    return (kernel, rungs, *counts)


def _cell(rows: Iterable[Row], kernel: str, case: tuple[str, ...]) -> str:
    for row in rows:
        if (row.kernel, row.network, row.workload, row.place) == (kernel, *case):
            best = next(iter(row.views.values()))
            return ", ".join(
                f"{name} {seen.packets:,} {_local(seen)}"
                for name, seen in (("rx", best.rx), ("tx", best.tx))
                if seen.packets
            )
    return ""


def _local(seen: Seen) -> str:
    return "?" if seen.local is None else f"{seen.local:.2f}%"


def main() -> None:
    """Measure here or in guests, and print."""
    parser = argparse.ArgumentParser(prog="validation.accuracy", description=__doc__)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=", ".join(SUITES))
    parser.add_argument("--here", action="store_true", help="measure on the running kernel")
    parser.add_argument("--json", action="store_true", help="a line for each row")
    arguments = parser.parse_args()
    try:
        if arguments.here:
            rows = list(measure())
        else:
            rows = [row for kernel in arguments.kernels or SUITES for row in in_guest(kernel)]
    except CannotBoot as reason:
        sys.exit(f"validation.accuracy: {reason}")
    if arguments.json:
        lines: Iterable[str] = (json.dumps(asdict(row)) for row in rows)
    elif arguments.here:
        lines = every_figure(rows)
    else:
        lines = page(rows, list(measure()))
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
