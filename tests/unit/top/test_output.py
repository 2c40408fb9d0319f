"""What `locality top` prints and records of intervals made up here, and what comes back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import locality
from locality.errors import LocalityError
from locality.machine.cgroups import name_of, path_of
from locality.machine.topology import Distance
from locality.recording.reader import Reader
from locality.report import write_report
from locality.summary import Summary
from locality.top.recording import TopRecorder, rows_by_kind, rows_of, timed_intervals
from locality.top.records import CsvTop, JsonTop
from locality.top.text import TextTop, summary_lines
from locality.top.waits import waits_of
from tests.unit.cost import made_up as made_up_cost
from tests.unit.cost.made_up import Times
from tests.unit.recordings import META, meta
from tests.unit.top.made_up import interval, reader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from locality.top.interval import TopInterval

MACHINE = META.machine
#: Of the sources, a recording keeps the first one.
FROM_CPU_2: dict[str, object] = {"sources": [2, -1, -1, -1], "received": [1, 0, 0, 0]}
SEEN = interval(
    reader(11, 8080, cpu=600, llc=1400, bytes=4_000_000, comm=b"nginx", cgroup=7),
    reader(22, 443, cpu=10, comm=b"\x1b[31m=x", outgoing=1),
    reader(33, 53, cpu=1, node=1, reads=5, protocol=17, cgroup=8, **FROM_CPU_2),
    cgroups={7: "/system.slice/nginx.service"},
)


def text(kind: type[TextTop | JsonTop | CsvTop], by: str, *intervals: TopInterval) -> str:
    out = io.StringIO()
    sink = kind(out, MACHINE, by)
    for one in intervals:
        sink.write(one)
    return out.getvalue()


# Bugs: a line is wider than a terminal; a thread's name reaches the terminal raw; the most remote
# is not first; a figure that is not known is 0.
def test_the_table() -> None:
    lines = text(TextTop, "port", SEEN, interval(lost=3)).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].endswith(" 1,008 reads/s, 30.3% local, 700 remote/s")
    # What is too long for the line of its row is on the next one.
    assert [" ".join(line.split()[4:]) for line in (*lines[2:4], lines[5])] == [
        "- tcp 8080 nginx explain --port 8080",
        "CPU 2 udp 53 worker",
        "- tcp to 443 \\x1b[31m=x doctor",
    ]
    assert lines[4].strip() == "explain --port 53 --proto udp"
    assert lines[6].endswith("no reads, 3 lost")
    unseen = text(TextTop, "port", interval(reader(1, cpu=1), bytes_seen=False))
    assert unseen.splitlines()[2].split()[3] == "?"


# Bugs: the command is of a client, whose reader nothing can choose; two containers serve one port,
# and the command that comes next does not say of which it is.
def test_the_summary_says_what_comes_next() -> None:
    summary = Summary["TopInterval"](MACHINE)
    assert [*summary_lines(summary)] == ["no interval was over"]
    summary.write(SEEN)
    lines = [*summary_lines(summary)]
    lines = [line for line in lines if "same CPU" not in line]  # as wide as there are distances
    assert lines[-1] == "next: locality explain --port 8080"
    assert max(map(len, lines)) <= 80


# Bug: rows of each interval are threads, as was asked for, and those of the summary are ports.
@pytest.mark.parametrize(
    ("by", "named"), [("port", "tcp 8080 nginx"), ("thread", "nginx/11"), ("process", "nginx/2")]
)
def test_the_summary_has_the_rows_that_were_asked_for(by: str, named: str) -> None:
    summary = Summary["TopInterval"](MACHINE)
    summary.write(SEEN)
    lines = [*summary_lines(summary, by)]
    (heading,) = [line for line in lines if "reads/s " in line and "remote/s" in line[:10]]
    assert heading.split()[-2:] == [by, "next"]
    assert sum(named in line for line in lines) == 1
    assert lines[-1] == "next: locality explain --port 8080"


# Bugs: the command is of another row, or lacks the namespace; a path with a blank or a line break
# is not one word of a shell.
@pytest.mark.parametrize(
    ("by", "commands"),
    [
        ("port", ["explain --port 80 --netns 2", "explain --port 80 --netns 1", "doctor"]),
        ("process", ["top --pid 2", "top --pid 3", "top --pid 4"]),
        ("cgroup", [None, "top --cgroup '/a b'"]),
        ("netns", ["top --netns 2", "top --netns 1"]),
    ],
)
def test_each_row_says_what_comes_next(by: str, commands: list[str | None]) -> None:
    seen = interval(
        reader(11, 80, llc=9, netns=2, cgroup=7),
        reader(22, 80, llc=5, netns=1, cgroup=8),
        reader(33, 80, cpu=1, netns=1, outgoing=1, cgroup=8),
        cgroups={8: "/a b", 7: "/a\nb"},
    )
    (record,) = text(JsonTop, by, seen).splitlines()
    found = [row["next"] for row in json.loads(record)["rows"]]
    assert found == [command and f"locality {command}" for command in commands]
    table = text(TextTop, by, seen).splitlines()[2:]
    assert all(any(command in line for line in table) for command in commands if command)


# Bugs: fields that differ within a row have the value of one reader; a formula in a thread's name
# reaches a spreadsheet.
def test_records() -> None:
    (line,) = text(JsonTop, "port", SEEN).splitlines()
    first, second, third = json.loads(line)["rows"]
    assert (first["port"], first["protocol"], first["outgoing"]) == (8080, "tcp", False)
    assert (first["pid"], first["cgroup_path"], first["next"]) == (
        *(None, None),
        "locality explain --port 8080",
    )
    assert (second["reads"], second["reads_unknown"], second["from_cpu"]) == (5, 3, 2)
    assert second["next"] == "locality explain --port 53 --proto udp"
    assert third["next"] == "locality doctor"
    (by_cgroup, *_) = json.loads(text(JsonTop, "cgroup", SEEN))["rows"]
    assert by_cgroup["name"] == "nginx.service"
    assert by_cgroup["cgroup_path"] == "/system.slice/nginx.service"
    named = interval(reader(1, cpu=1, comm=b"=1+1"))
    (row,) = csv.DictReader(io.StringIO(text(CsvTop, "thread", named)))
    assert row["name"].startswith("'=")


def recorded(path: Path, intervals: Sequence[TopInterval]) -> Path:
    with TopRecorder(path, meta("top")) as recorder:
        for one in intervals:
            recorder.write(one)
    return path


def same(one: TopInterval, other: TopInterval) -> bool:
    return replace(one, readers=None) == replace(other, readers=None) and (  # type: ignore[arg-type]
        one.readers.tobytes() == other.readers.tobytes()
    )


# Bugs: what was measured comes back otherwise, or not at all where nothing was read.
def test_a_recording_comes_back_as_it_was(tmp_path: Path) -> None:
    intervals = [SEEN, interval(lost=2), interval(reader(1, cpu=3), bytes_seen=False, lost=9)]
    path = recorded(tmp_path / "top.arrows", intervals)
    with Reader(path) as reader_:
        found = [one for _, one in timed_intervals(reader_)]
    assert all(same(*pair) for pair in zip(intervals, found, strict=True))
    frames = locality.load(path).top
    assert frames.total is not None
    assert int(frames.total.readers["reads"].sum()) == 2018
    assert len(frames.intervals) == 3
    assert frames.readers["reads_llc"].sum() == 1400
    write_report([path], tmp_path / "page.md", format="md")
    page = (tmp_path / "page.md").read_text()
    assert "2,018 reads, 30.4" in page
    assert "tcp 8080 nginx" in page


# Bug: a traceback, or figures, from a file that no recorder wrote.
@pytest.mark.parametrize(
    ("column", "value"), [("protocol", "sctp"), ("row", "neither"), ("reads", None)]
)
def test_a_damaged_recording_is_refused(column: str, value: object) -> None:
    rows = rows_of(SEEN)
    values = rows[column].to_pylist()
    values[-1] = value
    place = rows.schema.get_field_index(column)
    array = pa.array(values)
    if pa.types.is_dictionary(rows.schema.field(place).type):
        array = array.dictionary_encode()
    with pytest.raises(LocalityError, match="damaged"):
        rows_by_kind(rows.set_column(place, column, array))


# Bugs: a container is called by 64 digits; a path of nothing known is made shorter by a guess.
@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/system.slice/docker-{'0123456789abcdef' * 4}.scope", "docker 0123456789ab"),
        (f"/docker/{'ab' * 32}", f"docker {'ab' * 6}"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{'cd' * 32}.scope", "containerd"),
        (f"/kubepods/burstable/pod12-34/{'ef' * 32}", f"pod {'ef' * 6}"),
        ("/system.slice/nginx.service", "nginx.service"),
        ("/user.slice/user-0.slice/session-1.scope", "session-1.scope"),
        ("/", "/"),
        ("/a/b", "/a/b"),
    ],
)
def test_names_of_cgroups(path: str, name: str) -> None:
    assert name_of(path).startswith(name)


# Bug: the path of cgroup v1 is taken, or one with a colon is cut.
def test_the_cgroup_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text("12:cpu:/v1\n0::/v2:with:colons\n")
    assert path_of(7, tmp_path) == "/v2:with:colons"
    assert path_of(8, tmp_path) is None


# Bugs: the times of a row are those of another one; a row without a time has one of 0; the columns
# make a line wider than a terminal; without --cost there are columns of question marks.
def test_the_times_of_cost() -> None:
    local, remote = Times(10_000, 300), Times(40_000, 200, Distance.LLC)
    cost = made_up_cost.interval((made_up_cost.reader(2, 8080), [local, remote]))
    timed = replace(SEEN, cost=cost)
    lines = text(TextTop, "port", timed).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[4:6] == ["waited", "remote"]
    timed_rows = [line.split()[4:6] for line in lines[2:] if line[:9].strip()]
    assert timed_rows[:2] == [["9.7us", "38.9us"], ["?", "?"]]
    assert "waited" not in text(TextTop, "port", SEEN)
    rows = json.loads(text(JsonTop, "port", timed))["rows"]
    assert [row["reads_timed"] for row in rows] == [500, 0, 0]
    assert rows[0]["waited_remote_p50_ns"] == pytest.approx(40_000, rel=0.07)
    assert rows[1]["waited_local_p50_ns"] is None
    assert json.loads(text(JsonTop, "port", SEEN))["rows"][0]["reads_timed"] is None
    both = timed + timed
    assert both.cost is not None
    assert waits_of(both, "port")(both.readers[0]).timed == 1000
    assert (timed + SEEN).cost is None
