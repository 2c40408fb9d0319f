"""The lines of 2017, byte for byte: scripts that grep them are still in use."""

from __future__ import annotations

import io

import numpy as np
import pytest

from locality.accept.batch import ACCEPT, AcceptBatch
from locality.accept.text import ClassicAccept
from locality.skb.interval import Flow, Interval
from locality.skb.text import ClassicSkb
from tests.unit.recordings import META


class Pipe:
    """Standard output as it is when piped: buffered, so that only a flush shows."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self.text = io.TextIOWrapper(self._bytes, encoding="utf-8", newline="")

    @property
    def arrived(self) -> bytes:
        return self._bytes.getvalue()


def accepted(*rows: dict[str, int]) -> AcceptBatch:
    records = np.zeros(len(rows), ACCEPT)
    for record, row in zip(records, rows, strict=True):
        for name, value in row.items():
            record[name] = value
    return AcceptBatch(records, clock_offset=0, lost=0)


def flow(packets: int, local: int | None, unknown: int = 0) -> Flow:
    return Flow(packets, local, freed_local=None, deferred=None, unknown=unknown)


def interval(rx: Flow, tx: Flow, seconds: float = 1.0) -> Interval:
    return Interval(0.0, seconds, "fentry", 0, rx, tx, None, None, np.zeros((2, 1, 1), np.int64))


def skb_line(rx: Flow, tx: Flow, seconds: float = 1.0) -> str:
    pipe = Pipe()
    ClassicSkb(pipe.text, META.machine).write(interval(rx, tx, seconds))
    return pipe.arrived.decode("ascii")


# Bugs: a space, a word or a field's order differs and every old grep and awk finds nothing;
# a line stays in the buffer until 8 KiB are full and `| grep` shows nothing for minutes.
def test_accept_lines_arrive_at_once_and_exact() -> None:
    pipe = Pipe()
    ClassicAccept(pipe.text, META.machine).write(
        accepted(
            {"cpu": 12, "pid": 29333, "tid": 29334, "listen_fd": 3, "fd": 30, "rxcpu": 19},
            {"cpu": 0, "pid": 1, "tid": 1, "listen_fd": 0, "fd": 1023, "rxcpu": -1},
        )
    )
    assert pipe.arrived == (
        b"cpu=#12 pid=29333 accept(3) -> fd=30 rxcpu=#19\n"
        b"cpu=#0 pid=1 accept(0) -> fd=1023 rxcpu=#-1\n"
    )


# Bug: an empty reading of the ring prints an empty line twenty times a second.
def test_nothing_accepted_prints_nothing() -> None:
    pipe = Pipe()
    ClassicAccept(pipe.text, META.machine).write(accepted())
    assert pipe.arrived == b""


# Bug: a width is off by one and `cut -c` in old scripts takes half a number. The widths are
# those of rx=%3d%% %4dkpps tx=%3d%% %4dkpps.
@pytest.mark.parametrize(
    ("rx", "tx", "expected"),
    [
        (
            flow(130_000, 13_000),
            flow(127_000, 10_160),
            "rx= 10%  130kpps tx=  8%  127kpps\n",
        ),
        (flow(2_000, 2_000), flow(1_000, 0), "rx=100%    2kpps tx=  0%    1kpps\n"),
        (
            flow(1_234_000, 617_000),
            flow(12_345_000, 12_345_000),
            "rx= 50% 1234kpps tx=100% 12345kpps\n",
        ),
    ],
)
def test_skb_line(rx: Flow, tx: Flow, expected: str) -> None:
    assert skb_line(rx, tx) == expected


# Bug: packets of an interval are printed as if every interval were one second.
@pytest.mark.parametrize(("seconds", "kpps"), [(0.5, " 260"), (1.0, " 130"), (10.0, "  13")])
def test_kpps_are_per_second(seconds: float, kpps: str) -> None:
    one = flow(130_000, 13_000)
    assert skb_line(one, one, seconds) == f"rx= 10% {kpps}kpps tx= 10% {kpps}kpps\n"


# Bug: rounding makes 100 % of what is not all local, the very claim the tool is there to prove.
@pytest.mark.parametrize(
    ("local", "percent"), [(100_000, "100"), (99_999, " 99"), (99_500, " 99"), (999, "  0")]
)
def test_100_percent_only_when_all_are_local(local: int, percent: str) -> None:
    one = flow(100_000, local)
    assert skb_line(one, one) == f"rx={percent}%  100kpps tx={percent}%  100kpps\n"


# Bugs: what a rung cannot see is printed as 0 %, a made-up number; no packets at all look like
# 0 % local; packets of unknown CPU count as remote.
@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (flow(100_000, None), "  ?%  100kpps"),
        (flow(100_000, 0, unknown=100_000), "  ?%  100kpps"),
        (flow(0, 0), "  -%    0kpps"),
        (flow(0, None), "  -%    0kpps"),
        (flow(100_000, 50_000, unknown=50_000), "100%  100kpps"),
    ],
)
def test_what_is_not_known_is_no_number(one: Flow, expected: str) -> None:
    assert skb_line(one, one) == f"rx={expected} tx={expected}\n"
