"""Three answers to "how much is local", on the same packets of the running kernel.

    python -m validation.definitions [RUNG ...] [--csv FILE]
    tools/boot 6.1 -- python -m validation.definitions

Consumed-local, freed-local, and the count of 2017's script, ported (tests/live/helpers).
Ping-pong over loopback, both ends on one CPU and on two. `validation.definitions_page` runs
this on several kernels.
"""

from __future__ import annotations

import csv
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from locality.errors import LocalityError, Unsupported
from locality.skb.interval import RX
from locality.skb.source import SkbSource
from locality.text import percent, share
from tests.live.helpers.locality_stp import LocalityStp
from tests.live.helpers.traffic import (
    HERE,
    ROUND_TRIPS,
    THERE,
    flush_deferred,
    tcp_ping_pong,
    udp_ping_pong,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

WORKLOADS = {"TCP": tcp_ping_pong, "UDP": udp_ping_pong}


@dataclass(frozen=True)
class Row:
    """What was received in one ping-pong, in packets; None if this kernel does not show it.

    Attributes:
        kernel: As `uname -r` says.
        rung: Ours; the port has one only.
        protocol: TCP or UDP.
        cpus: On how many the two ends ran.
        packets: Ours, all.
        known: Of these, the ones of which the consume CPU is known.
        consumed_local: Of these, consumed on the alloc CPU.
        freed_local: Of all, freed on the alloc CPU.
        deferred: Of all, those whose free was deferred to the alloc CPU.
        ported: As the port counted them.
        ported_local: Of these, freed on the alloc CPU.
        hooked: Of the port's, those that pass the function which the script hooked.
    """

    kernel: str
    rung: str
    protocol: str
    cpus: int
    packets: int
    known: int
    consumed_local: int | None
    freed_local: int | None
    deferred: int | None
    ported: int | None
    ported_local: int | None
    hooked: int | None

    @property
    def consumed_share(self) -> float | None:
        """Consumed-local in percent."""
        return share(self.consumed_local, self.known)

    @property
    def freed_share(self) -> float | None:
        """Freed-local in percent."""
        return share(self.freed_local, self.packets)

    @property
    def ported_share(self) -> float | None:
        """What 2017's count gives, in percent."""
        return share(self.ported_local, self.ported)

    @property
    def release(self) -> str:
        """The kernel's release as people call it: 6.12."""
        return ".".join(self.kernel.split(".")[:2])


def measure(rung: str | None) -> Iterator[Row]:
    """Play each ping-pong; None is the best rung of this kernel."""
    with ExitStack() as stack:
        source = stack.enter_context(SkbSource(rung=rung))
        script = _port(stack)
        for protocol, workload in WORKLOADS.items():
            for cpus, other in enumerate((HERE, THERE), 1):
                flush_deferred()
                source.read()
                before = script.read() if script else {}
                workload(HERE, other, ROUND_TRIPS)
                flush_deferred()
                rx = source.read().rx
                after = script.read() if script else {}
                counts = {name: after[name] - before[name] for name in after}
                yield Row(
                    kernel=platform.release(),
                    rung=source.attachment.rung.name,
                    protocol=protocol,
                    cpus=cpus,
                    packets=rx.packets,
                    known=rx.known,
                    consumed_local=rx.local,
                    freed_local=rx.freed_local,
                    deferred=rx.deferred,
                    ported=counts["port"].freed[RX] if counts else None,
                    ported_local=counts["port"].local[RX] if counts else None,
                    hooked=counts["hook"].freed[RX] if counts else None,
                )


def _port(stack: ExitStack) -> LocalityStp | None:
    """The port of the script, where functions can be hooked."""
    scratch = stack.enter_context(TemporaryDirectory())
    try:
        return stack.enter_context(LocalityStp(Path(scratch)))
    except Unsupported as reason:
        print(f"without the port of 2017's count: {reason}", file=sys.stderr)
        return None


def table(rows: Iterable[Row]) -> str:
    """Rows as a Markdown table."""
    head = ["kernel", "probe type", "ping-pong", "packets", "consumed-local", "freed-local"]
    head += ["2017's count", "deferred", "at `__kfree_skb`"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        cells = (
            row.release,
            row.rung,
            f"{row.protocol}, {('one CPU', 'two CPUs')[row.cpus - 1]}",
            f"{row.packets:,}",
            percent(row.consumed_share, 2),
            percent(row.freed_share, 2),
            percent(row.ported_share, 2),
            percent(share(row.deferred, row.packets), 2),
            percent(share(row.hooked, row.ported), 2),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_csv(rows: Iterable[Row], file: Path) -> None:
    """Write rows, a figure that was not seen as nothing."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, [one.name for one in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))


def read_csv(file: Path) -> list[Row]:
    """Read what `write_csv` wrote."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [_row(line) for line in csv.DictReader(lines)]


def _row(line: Mapping[str, str]) -> Row:
    texts = {"kernel", "rung", "protocol"}
    values: dict[str, Any] = {
        name: text if name in texts else int(text) if text else None for name, text in line.items()
    }
    return Row(**values)


@click.command()
@click.argument("rungs", nargs=-1, metavar="[RUNG]...")
@click.option("--csv", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def main(rungs: tuple[str, ...], file: Path | None) -> None:
    """Print one row for each rung and ping-pong."""
    rows = [row for rung in rungs or (None,) for row in measure(rung)]
    print(table(rows))
    if file is not None:
        write_csv(rows, file)


if __name__ == "__main__":
    try:
        main.main(standalone_mode=False)
    except (LocalityError, click.ClickException) as error:
        sys.exit(f"validation.definitions: {error}")
