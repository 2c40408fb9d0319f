"""Random windows, and the share that they tell."""

from __future__ import annotations

import random
import threading
from statistics import mean
from typing import TYPE_CHECKING

import pytest

from locality.errors import Unsupported
from locality.exporter.measures import Measure
from locality.exporter.metrics import PortLabels
from locality.exporter.share_interval import FEWEST, interval
from locality.exporter.windows import LONGEST, Windows, pause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from locality.bpf.ladder import Attachment
    from locality.exporter.measures import Share


class Measured(Measure):
    """A measurement whose probes the kernel takes, or refuses for a reason."""

    def __init__(self, name: str, refusal: str = "") -> None:
        self.name = name  # type: ignore[misc]  # of the class elsewhere
        self.refusal = refusal

    @property
    def attachments(self) -> Sequence[Attachment]:
        return ()

    def attach(self) -> None:
        if self.refusal:
            raise Unsupported(self.refusal)

    def read(self) -> None:
        pass

    def families(self, ports: PortLabels) -> Iterator[Metric]:
        del ports
        yield from ()

    def shares(self) -> Mapping[str, Share]:
        return {self.name: (0, 0)}

    @property
    def lost(self) -> int:
        return 0

    def close(self) -> None:
        pass


# Bug: windows take another share of the time than was asked for.
@pytest.mark.parametrize("duty", [0.01, 0.1, 0.5, 0.9])
def test_pauses_leave_the_share_of_the_time(duty: float) -> None:
    draw = random.Random(7)  # noqa: S311 - no secret
    pauses = [pause(2.0, duty, draw) for _ in range(20_000)]
    assert 2.0 / (2.0 + mean(pauses)) == pytest.approx(duty, rel=0.05)
    assert max(pauses) <= LONGEST * 2.0 * (1 / duty - 1)


# Bug: an interval of a few windows, or of windows in which nothing happened.
def test_too_little_was_seen() -> None:
    assert interval([]) is None
    assert interval([(1, 2)] * (FEWEST - 1)) is None
    assert interval([(1, 2)] * (FEWEST - 1) + [(0, 0)] * 100) is None


# Bug: windows that are all alike give an interval without width, which the share is never in.
def test_all_is_local() -> None:
    known = interval([(100, 100)] * 10)
    assert known is not None
    assert known.share == known.high == 1.0
    assert 0.99 < known.low < 1.0


# Bugs: events of one window count as if each were drawn at random; what is worked out differs from
# the formula of the book.
def test_bursts_make_the_interval_wide() -> None:
    bursts = [(1000, 1000), (0, 1000)] * 5
    known = interval(bursts)
    assert known is not None
    # Without one window the share is 0.5 +- 1/18: the standard error is sqrt(10 * 0.9) / 18 = 1/6.
    # On the scale of logits that is 2/3, and t(9) is 2.262: logit(high) = 1.508.
    assert known.share == 0.5
    assert known.high == pytest.approx(0.8188, abs=1e-4)
    assert known.low == pytest.approx(1 - known.high)
    even = interval([(500, 1000)] * 10)
    assert even is not None
    assert even.high - even.low < 0.03


# Bug: the mean of the windows' shares is told, in which a window of two counts as one of thousands.
def test_busy_windows_count_more() -> None:
    known = interval([(900, 1000)] * 5 + [(0, 2)] * 5)
    assert known is not None
    assert known.share == pytest.approx(4500 / 5010)
    assert 0.0 <= known.low <= known.share <= known.high <= 1.0


def counted(windows: Windows) -> float:
    """How many windows the metrics tell."""
    families = {family.name: family for family in windows.families(PortLabels(1))}
    return float(families["locality_windows"].samples[0].value)


# Bugs: two measurements that the kernel refuses are told in each window, for each differs from what
# was told last; what is refused again after it worked is not told; a window in which nothing was
# attached counts as one.
def test_what_is_refused_is_told_once_and_no_window() -> None:
    told: list[str] = []
    measures = [Measured("accepts", "no"), Measured("reads", "not now")]
    windows = Windows(measures, threading.Lock(), 0.5, 1.0, told.append)
    for _ in range(3):
        windows.window(lambda _seconds: None)
    assert told == ["accepts: no", "reads: not now"]
    assert counted(windows) == 0
    measures[0].refusal = ""
    windows.window(lambda _seconds: None)
    assert counted(windows) == 1
    measures[0].refusal = "no"
    windows.window(lambda _seconds: None)
    assert told == ["accepts: no", "reads: not now", "accepts: no"]
    assert counted(windows) == 1


# Bugs: an error that nobody expected ends the thread without a word, and no window is measured any
# more; probes stay attached after it; it is told in each window.
def test_an_unexpected_error_is_told_once_and_survived() -> None:
    told: list[str] = []
    ended = threading.Event()

    class Failing(Measured):
        attached, windows = False, 0

        def attach(self) -> None:
            self.attached = True
            self.windows += 1
            if self.windows == 3:
                ended.set()
            raise OverflowError("too many")

        def detach(self) -> None:
            self.attached = False

    measure = Failing("reads")
    windows = Windows([measure], threading.Lock(), 0.5, 0.001, told.append)
    thread = windows.begin(lambda: None, ended)
    thread.join(30)
    assert not thread.is_alive()
    assert (measure.windows, measure.attached) == (3, False)
    assert told == ["a window was not measured: OverflowError: too many"]


# Bug: a thread that cannot give up its privileges works on with them, or ends without a word.
def test_no_window_with_more_privileges_than_it_should_have() -> None:
    told: list[str] = []

    def settled() -> None:
        raise PermissionError(1, "Operation not permitted")

    measure = Measured("reads")
    thread = Windows([measure], threading.Lock(), 0.5, 0.001, told.append).begin(
        settled, threading.Event()
    )
    thread.join(30)
    assert not thread.is_alive()
    assert told == ["a window was not measured: Operation not permitted"]


# Bug: what metrics and findings read at the same time is counted twice.
def test_the_counters_are_read_by_one_at_a_time() -> None:
    lock = threading.Lock()

    class Watched(Measured):
        def read(self) -> None:
            assert lock.locked()

    Windows([Watched("reads")], lock, 0.5, 1.0, pytest.fail)
