"""Compare the probe types of `locality skb`: all of them count the same packets at once.

    python -m validation.accuracy [KERNEL ...]      boot these kernels; print a page in Markdown
    python -m validation.accuracy --csv FILE        write what the first probe type counted, too
    python -m validation.accuracy --here            measure this kernel; print every figure
    python -m validation.accuracy --here --json     measure this kernel; print JSON

Without arguments it boots all kernels that tools/boot knows.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.checkout import commit
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
from tests.vm.kernel_images import USUAL, CannotBoot, kernel_image
from validation.markdown import table

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


def every_figure(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each rung of each row."""
    head = ("kernel", "case", "probe type", "RX", "RX local", "TX", "TX local", "unknown", "lost")
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
    """docs/generated/accuracy.md: the cases that agree as a number, the others in full."""
    yield _method(rows[0])
    yield from _agreement(rows)
    yield from (
        "## The host kernel (no VM)",
        "",
        f"Measured on the machine that ran the guests, with {host[0].messages:,} messages.",
        "Packets of other programs on that machine are counted too.",
        "",
    )
    yield from every_figure(host)


#: The header of accuracy.csv.
CSV_COLUMNS = (
    *("kernel", "network", "workload", "place", "probe_type"),
    *("rx_packets", "rx_local_percent", "tx_packets", "tx_local_percent"),
)


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """docs/generated/accuracy.csv: what the first probe type of each kernel counted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            rung, view = next(iter(row.views.items()))
            figures = [
                value
                for seen in (view.rx, view.tx)
                for value in (seen.packets, "" if seen.local is None else f"{seen.local:.2f}")
            ]
            writer.writerow((row.kernel, row.network, row.workload, row.place, rung, *figures))


_METHOD = """\
# Do the probe types of `locality skb` agree?

`make accuracy` wrote this page on commit {commit} and overwrites it.

`locality skb` can count packets with several probe types: `fentry`, `kprobe` and
`raw-tracepoint`. For this page all types that a kernel offers are attached at once and count the
same packets, in a QEMU guest with {cpus} CPUs. The packets go over loopback, over veth between
two network namespaces, and over two virtio network cards that are connected to each other; each
card is in its own namespace, and one CPU takes the interrupts of both. Ping-pong and one-way
workloads send {messages:,} messages, a stream sends {mib} MiB. Each workload runs with both
ends on the same CPU, and on two CPUs. Each case has {cpus} more received packets, one to each
CPU: they make the kernel free the packets whose free it deferred.

Two probe types agree if their packet counts differ by at most {packets:.1%} and their local
shares by at most {points} percentage points, whatever the packets of unknown CPU were. A
measurement is repeated up to three times if probe runs were lost, or if a difference has no
known reason.

[accuracy.csv](accuracy.csv) has the counts of each kernel's first probe type for every case.
`python -m validation.accuracy --here` prints every figure of the running kernel.
"""


def _method(row: Row) -> str:
    return _METHOD.format(
        commit=commit(),
        cpus=row.cpus,
        messages=row.messages,
        mib=SIZE >> 20,
        packets=PACKETS_MAY_DIFFER,
        points=POINTS_MAY_DIFFER,
    )


def _agreement(rows: list[Row]) -> Iterator[str]:
    kernels = list(dict.fromkeys(row.kernel for row in rows))
    yield from ("## Agreement", "")
    yield from table(
        ("kernel", "probe types", "cases", "agree", "differ", "differ for no known reason"),
        (_summary(kernel, [row for row in rows if row.kernel == kernel]) for kernel in kernels),
    )
    yield from (
        "## Where they differ",
        "",
        "*RX 113 instead of 114* means: this probe type counted 113 received packets, the first",
        "probe type of the kernel counted 114.",
        "",
    )
    yield from table(
        ("kernel", "case", "probe type", "difference", "reason"),
        (
            (row.kernel, row.name, one.rung, one.what, one.why or "**not known**")
            for row in rows
            for one in row.differences
        ),
    )
    yield from (
        "## Sent packets of unknown CPU",
        "",
        "The probe type did not see the ACK that ended these packets.",
        "",
    )
    yield from table(
        ("kernel", "case", "probe type", "TX", "unknown"),
        (
            (row.kernel, row.name, rung, f"{view.tx.packets:,}", f"{view.tx.unknown:,}")
            for row in rows
            for rung, view in row.views.items()
            if view.tx.unknown
        ),
    )


def _summary(kernel: str, rows: list[Row]) -> tuple[object, ...]:
    differing = [row for row in rows if row.differences]
    unexplained = [row for row in differing if not all(one.why for one in row.differences)]
    rungs = ", ".join(rows[0].views)
    counts = (len(rows), len(rows) - len(differing), len(differing), len(unexplained))
    return (kernel, rungs, *counts)


def _local(seen: Seen) -> str:
    return "?" if seen.local is None else f"{seen.local:.2f}%"


def main() -> None:
    """Measure here or in guests, and print."""
    parser = argparse.ArgumentParser(prog="validation.accuracy", description=__doc__)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=", ".join(USUAL))
    parser.add_argument("--here", action="store_true", help="measure on the running kernel")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each case")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the counts of guests and host"
    )
    arguments = parser.parse_args()
    try:
        if arguments.here:
            rows = list(measure())
        else:
            rows = [row for kernel in arguments.kernels or USUAL for row in in_guest(kernel)]
    except CannotBoot as reason:
        sys.exit(f"validation.accuracy: {reason}")
    if arguments.json:
        lines: Iterable[str] = (json.dumps(asdict(row)) for row in rows)
    elif arguments.here:
        lines = every_figure(rows)
    else:
        host = list(measure())
        lines = page(rows, host)
        if arguments.csv:
            write_csv([*rows, *host], arguments.csv)
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
