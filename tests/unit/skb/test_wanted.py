"""Packets that a filter chooses: what is asked of the kernel, and what is said of the rest."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest

from locality.bpf.ladder import Rung
from locality.errors import LocalityError, Unsupported
from locality.recording.reader import Reader
from locality.skb.interval import Flow, Interval
from locality.skb.recording import SkbRecorder, timed_intervals
from locality.skb.text import TextSkb, summary_lines
from locality.skb.wanted import Device, SkbFilter, choosing, device
from locality.summary import Summary
from tests.unit.recordings import META, SKB_META, in_first_format, without

if TYPE_CHECKING:
    from pathlib import Path


class Kernel:
    """One that has all functions and tracepoints but those named."""

    def __init__(self, *without: str) -> None:
        self._without = without

    def has_member(self, struct: str, member: str) -> bool:
        return f"{struct}.{member}" not in self._without

    def has_function(self, name: str) -> bool:
        return name not in self._without

    def tracepoint_arguments(self, name: str) -> int | None:
        return None if name in self._without else 2


# Bugs: a filter that is not named in the header; one that chooses nothing makes the probes slower.
def test_what_is_asked_for() -> None:
    assert not SkbFilter().selects
    assert str(SkbFilter()) == "everything"
    lo = Device("lo", 1, 4026531840)
    wanted = SkbFilter("nginx", (7,), (80,), lo, 6, netns=4026531841)
    assert wanted.selects
    assert str(wanted) == "comm nginx, pid 7, port 80, netns 4026531841, device lo, IPv6"
    asked = {name: wanted.rodata()[name] for name in ("only_family", "only_ifindex", "only_netns")}
    assert asked == {"only_family": 6, "only_ifindex": 1, "only_netns": 4026531841}
    assert wanted.rodata()["only_ifindex_netns"] == 4026531840


# Bug: a device that is not there is taken for index 0, which means all devices.
@pytest.mark.parametrize("name", ["nowhere0", "", "x" * 400, "a\0b"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(LocalityError, match="there is no network device") as error:
        device(name)
    assert "\n" not in str(error.value)


# Bugs: a program is asked for that the kernel has no tracepoint for; a rung counts packets twice
# whose free it cannot know for one that was counted before.
def test_programs_of_a_choice() -> None:
    functions = Rung("fentry", lambda _kernel: ("fentry_kfree_skbmem", "fentry_flush"))
    tracepoints = Rung("raw-tracepoint", lambda _kernel: ("raw_consume_skb",))
    told = ("told_segment", "told_copied", "told_dropped")

    def programs(rung: Rung, wanted: SkbFilter, *without: str, seen: bool = True) -> set[str]:
        chosen = choosing(rung, wanted, flush_is_seen=seen).programs(Kernel(*without))
        return {*chosen} - {"fentry_kfree_skbmem", "fentry_flush", "raw_consume_skb"}

    by_port, by_pid = SkbFilter(ports=(80,)), SkbFilter(pids=(1,))
    assert programs(functions, by_port) == {*told}
    assert programs(tracepoints, by_port) == set()
    owners = {"owner_sends", "owner_gone"}
    assert programs(tracepoints, by_pid) == owners
    assert programs(functions, by_pid) == {*told, *owners}
    assert programs(tracepoints, by_pid, "sock_send_length") == {"owner_gone"}
    with pytest.raises(Unsupported, match="does not show where it frees"):
        programs(functions, by_port, seen=False)
    assert programs(functions, by_port, "skb_attempt_defer_free", seen=False) == {*told}
    bare = Rung("fentry", lambda _kernel: ("fentry_kfree_skbmem",))
    assert programs(bare, by_port) == {*told, "told_consumed"}


def interval(number: int, not_told: tuple[int, int] = (0, 0)) -> Interval:
    return Interval(
        time=1_700_000_002.5 + number,
        seconds=1.0,
        rung="fentry",
        lost=0,
        rx=Flow(1000, 900, None, 30, 4),
        tx=Flow(2000, 1000, None, None, number),
        delivered=500,
        delivered_local=400,
        by_pair=np.ones((2, 3, 3), np.int64),
        not_told=not_told,
    )


def chosen() -> list[Interval]:
    return [interval(number, (7, 1000 + number)) for number in range(3)]


# Bug: what is not told apart is printed nowhere, or where nothing was chosen.
def test_lines() -> None:
    summary, out = Summary["Interval"](META.machine), io.StringIO()
    text = TextSkb(out, META.machine)
    for one in chosen():
        text.write(one)
        summary.write(one)
    untold = [line for line in out.getvalue().splitlines() if "not told apart" in line]
    assert len(untold) == 3
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "not told apart, and not counted above: 21 received, 3003 sent" in [
        *summary_lines(summary)
    ]
    whole = Summary["Interval"](META.machine)
    whole.write(interval(0))
    assert not any("told apart" in line for line in summary_lines(whole))


# Bugs: a recording does not keep what was not told apart; one of an older version is refused.
def test_recordings(tmp_path: Path) -> None:
    path = tmp_path / "skb.arrows"
    known = chosen()
    with SkbRecorder(path, SKB_META) as recorder:
        for one in known:
            recorder.write(one)
    assert [one.not_told for one in replayed(path)] == [one.not_told for one in known]
    first, older = tmp_path / "first.arrows", tmp_path / "older.arrows"
    in_first_format(path, first)
    without(first, older, "not_told")
    found = replayed(older)
    assert [one.not_told for one in found] == [(0, 0)] * 3
    assert [one.rx for one in found] == [one.rx for one in known]


def replayed(path: Path) -> list[Interval]:
    with Reader(path) as reader:
        return [one for _, one in timed_intervals(reader)]
