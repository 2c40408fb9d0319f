"""The lab as it was recorded once, for machines that cannot run it.

The recordings in `recorded/` are of a real run over taps: ``locality demo --record DIR``, its
phases before and after.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from locality.accept.recording import timed_accepts
from locality.accept.summary import AcceptSummary
from locality.accept.text import summary_lines
from locality.recording.reader import Reader
from locality.recording.replay import play
from locality.skb import text as skb_text
from locality.skb.recording import timed_intervals
from locality.summary import Summary
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.skb.interval import Interval

RECORDED = Path(__file__).parent / "recorded"
PHASES = {
    "before": "the kernel's hash chooses the worker",
    "after": "attach-cbpf: the worker is chosen by the CPU that received",
}


def recorded_lines() -> Iterator[str]:
    """What the recordings show; each line that says where from says that it is a recording."""
    for phase, change in PHASES.items():
        with Reader(RECORDED / f"{phase}.arrows") as reader:
            meta = reader.meta
            accepts = AcceptSummary(meta.machine)
            play(timed_accepts(reader), [accepts])
        when = datetime.fromtimestamp(meta.started // 10**9, UTC).date()
        where = printable(f"recorded on {meta.host}, kernel {meta.kernel}, {when}")
        yield ""
        yield f"[recording] {phase}: {change}"
        yield f"[recording] {where}, rung {printable(meta.rung)}"
        yield from summary_lines(accepts)
        with Reader(RECORDED / f"{phase}.skb.arrows") as reader:
            packets: Summary[Interval] = Summary(meta.machine)
            play(timed_intervals(reader), [packets])
            whose = printable(reader.meta.filter)
        yield ""
        yield f"[recording] packets of {whose}"
        yield from skb_text.summary_lines(packets)
