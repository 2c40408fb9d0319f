"""Our side of `calls`: the ring of `calls_ring.bpf.c`, read as `locality accept` reads its own.

    python -m benchmarks.calls_reader text|summary NUMBER

NUMBER is the system call's. Prints what that sink prints until SIGINT, then how many were lost.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.programs import SOURCES, open_bpf
from locality.accept.batch import ACCEPT, AcceptBatch
from locality.accept.source import DEFAULT_RING, AcceptSource
from locality.accept.summary import AcceptSummary
from locality.accept.text import TextAccept, summary_lines
from locality.bpf.ring import Ring
from locality.machine import topology
from locality.machine.clocks import monotonic_to_utc
from locality.stream import stream


class CallsSource:
    """The system call's callers, from the moment it is made.

    Args:
        number: The call's.
        scratch: Where the probe is compiled.
    """

    period = AcceptSource.period

    def __init__(self, number: int, scratch: Path) -> None:
        obj = open_bpf(SOURCES / "calls_ring.bpf.c", scratch)
        constants = {"number": number, "wakeup_bytes": DEFAULT_RING // 4}
        obj._set_rodata(constants)  # noqa: SLF001 - only the package's own objects are opened with some
        obj.load()
        obj.attach(["called"])
        self.fd = obj.map_fd("events")
        self._obj = obj
        self._ring = Ring.map(self.fd, obj.map_entries("events"), ACCEPT)
        self._offset = monotonic_to_utc()

    def read(self) -> AcceptBatch:
        """Take what has arrived; never waits."""
        records = self._ring.read()
        return AcceptBatch(records, self._offset, int(self._obj.bss["lost"]))


def main() -> None:
    sink, number = sys.argv[1:]
    machine = topology.read()
    summary = AcceptSummary(machine)
    sinks = (summary, TextAccept(sys.stdout, machine)) if sink == "text" else (summary,)
    with TemporaryDirectory() as scratch:
        source = CallsSource(int(number), Path(scratch))
        print("attached", flush=True)
        stream(source, sinks)
    print(*summary_lines(summary), sep="\n")


if __name__ == "__main__":
    main()
