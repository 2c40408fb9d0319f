"""What `make bench` makes of its figures."""

from pathlib import Path

import pytest

from benchmarks.counting import received
from benchmarks.measure import Figure
from benchmarks.peers import contestants
from benchmarks.peers.running import count_events
from benchmarks.performance_page import figures_csv, page, table
from benchmarks.targets import comparisons, find

SMALL, LARGE = "300 accepts", "3,000 accepts"


def user(accepts: str, who: str, value: float) -> Figure:
    return Figure(f"user CPU per 100,000, {accepts}: {who}", [value], "s")


# A contestant's name begins another's, and a small storm comes before the large one that counts.
def test_a_figure_is_found_by_whose_it_is_and_the_largest_storm() -> None:
    figures = [
        user(SMALL, "locality accept", 1),
        user(SMALL, "locality accept --engine bcc", 2),
        user(LARGE, "locality accept", 3),
        user(LARGE, "locality accept --engine bcc", 4),
    ]
    found = find(figures, "user CPU per", "locality accept")
    assert found is figures[2]
    assert find(figures, "user CPU per", "bcc tcpaccept") is None


# Ours divided by theirs, not the other way round; and nothing where one of the two did not run.
def test_ratios_are_of_one_place_and_name_what_was_missed() -> None:
    figures = [user(LARGE, "locality accept", 1.0), user(LARGE, "bcc tcpaccept", 10.0)]
    lines = comparisons({"4": figures, "here": figures[:1]})
    (line,) = (line for line in lines if line.letter == "c")
    assert (line.place, line.figure.median) == ("4", 0.1)
    assert line.met is False
    assert line.verdict == "goal <= 1/15: MISSED, 1.50 times the goal"


# What nobody can be below is taken from another place, or put in other units than the figure.
def test_a_floor_is_in_the_units_of_its_figure() -> None:
    floor = Figure("user CPU per 100,000: floor", [0.5], "s")
    figures = [user(LARGE, "locality accept", 1.0), user(LARGE, "bcc tcpaccept", 10.0), floor]
    (line,) = (line for line in comparisons({"4": figures}) if line.letter == "c")
    assert line.floor == 0.05
    (line,) = (line for line in comparisons({"4": figures[:2], "here": [floor]}))
    assert line.floor is None
    turns = [
        Figure("accept / not traced", [0.9], "x"),
        Figure("empty programs / not traced", [0.97], "x"),
    ]
    (line,) = comparisons({"here": turns})
    assert line.figure.median == pytest.approx(10)
    assert line.floor == pytest.approx(3)
    assert line.verdict == "goal <= 1: MISSED by 9.00 %"


# What did not come to its end must be told, and a miss must not read like a goal that is met.
def test_the_page_has_misses_and_what_was_left_out() -> None:
    machine = {"kernel": "6.1", "cpus": 4, "processor": "any", "python": "3.11"}
    figures = [user(LARGE, "locality accept", 1.0), user(LARGE, "bcc tcpaccept", 10.0)]
    found = {
        "commit": "abc1234",
        "seconds": 800.0,
        "places": {
            "4": {
                "machine": machine,
                "benchmarks": {"tracers": [one.as_dict() for one in figures]},
            }
        },
        "missing": {"8": "the guest ended with None"},
    }
    lines = comparisons({"4": figures})
    text = "\n".join(page(found, lines))
    assert "0 of 1 goals were met" in text
    assert "**missed**, 1.50 times the goal" in text
    figure = "user CPU per 100,000, 3,000 accepts"
    assert figures_csv(found).splitlines() == [
        "where,part,figure,median,low,high,unit",
        f'guest,Accepted connections,"{figure}: locality accept",1.00,,,s',
        f'guest,Accepted connections,"{figure}: bcc tcpaccept",10.0,,,s',
    ]
    assert "Left out: a guest with eight CPUs: the guest ended with None" in text
    assert any("MISSED" in line for line in table(lines))


# A heading or a warning counted as an event would hide one that was lost.
def test_only_lines_for_the_storm_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for peer in ("has_kprobes", "has_bpftrace"):
        monkeypatch.setattr(contestants, peer, lambda: False)
    output = tmp_path / "output"
    output.write_bytes(
        b"PID     COMM         IP RADDR            RPORT LADDR            LPORT\n"
        b"1234    storm        4  127.0.0.1        40000 127.0.0.1        41000\n"
        b"1234    nginx        4  127.0.0.1        40001 127.0.0.1        8080 \n"
        b"Possibly lost 12 samples\n"
    )
    assert count_events(output, b" storm ") == 1
    ours = contestants.accept()[0]
    output.write_bytes(
        b"time     cpu and rxcpu, how far apart, worker/pid, fds, client, time in queue\n"
        b"22:28:15 cpu=1 rxcpu=1 local  storm/30235 4->7 127.0.0.1:36240 9.2us\n"
        b"1 accepted, 100.00% accept-local, 0 lost\n"
        b"storm               30235    1          1   100.0%\n"
    )
    assert count_events(output, ours.event) == 1


# Both ports print by place; a sum over one place only would look like packets that were lost.
def test_the_ports_counts_are_read() -> None:
    assert received("Attaching 4 probes...\n@rx[0]: 3\n@rx[1]: 40\n@tx[1]: 7\n@rx[1]: 2\n") == 45
    assert received("rx elsewhere 3, rx local 40, tx elsewhere 1, tx local 7\n") == 43
