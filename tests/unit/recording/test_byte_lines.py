"""Lines made all at once: byte for byte what Python's own formatting gives."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locality.accept.batch import ACCEPT, WAIT_KNOWN, AcceptBatch
from locality.accept.records import CsvAccept, JsonAccept
from locality.accept.text import ClassicAccept
from locality.machine.topology import Distance, Topology
from locality.recording.byte_lines import AT_ONCE, MANY, ByteLines, distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.accept.batch import Records
    from locality.stream import Output

CPUS = 4
MACHINE = Topology(CPUS, tuple(range(CPUS)), np.full((CPUS + 1,) * 2, Distance.NODE, np.uint8))
OFFSET = 1_700_000_000_123_456_789
#: Ids of cgroups, of which the last has no path.
PATHS = {1: "/plain", 2: '=1+"x",y', 3: "/\xe4\x1b[31m", 2**63: ""}
COMMS = (
    b"nginx",
    b"",
    b"=cmd",
    b'a"b,c',
    b"\xff\xfe",
    b"x\0y",
    b"\xc3\xa4",
    b"-1\n",
    b"exactly15bytes_",
)


def printed(lines: ByteLines) -> list[str]:
    lines.same(b"\n")
    return lines.join().decode().split("\n")[:-1]


# Bugs: a zero within a number or at its beginning; the sign of another line; the highest value of a
# type wraps round.
@settings(deadline=None)
@given(
    st.sampled_from(["u1", "u2", "u4", "u8", "i4", "i8"]).flatmap(
        lambda kind: st.tuples(
            st.just(kind),
            st.lists(
                st.integers(max(np.iinfo(kind).min, -(2**62)), np.iinfo(kind).max)
                | st.integers(0, np.iinfo(kind).max.bit_length()).map(lambda power: 10**power % 200)
                | st.sampled_from([0, 1, 9, 10, 99, 100]),
                min_size=1,
                max_size=30,
            ),
        )
    )
)
def test_numbers(case: tuple[str, list[int]]) -> None:
    kind, values = case
    lines = ByteLines(len(values))
    lines.numbers(np.array(values, kind))
    assert printed(lines) == [str(value) for value in values]


# Bug: the number of digits is one too small or too large at a power of ten.
@pytest.mark.parametrize("power", range(20))
def test_numbers_of_every_length(power: int) -> None:
    values = [10**power - 1, 10**power, max(10**power - 10, 0)]
    lines = ByteLines(len(values))
    lines.numbers(np.array(values, np.uint64))
    assert printed(lines) == [str(value) for value in values]


# Bug: a time has a digit more or less than Python gives it; one of two floats that are as near is
# the other one. All fractions of a second that a float of these decades has are here.
def test_every_fraction_of_a_second() -> None:
    part = np.arange(1 << 22)
    for whole, some in ((2**30, part[::7]), (2**31 - 1, part[3::7]), (1_700_000_000, part[::1024])):
        floats = whole + some / 2**22

        class Nanoseconds:
            """Something that is these seconds when it is divided by 10**9."""

            def __truediv__(self, _ns: float, floats: Any = floats) -> Any:  # noqa: ANN401
                return floats

        lines = ByteLines(len(floats))
        assert lines.seconds(Nanoseconds())  # type: ignore[arg-type]
        assert printed(lines) == [repr(value) for value in floats.tolist()]


# Bug: a time of another century is printed with digits of this one.
@pytest.mark.parametrize("year", [1970, 2003, 2039, 2100])
def test_times_of_other_decades_are_left_to_others(year: int) -> None:
    lines = ByteLines(1)
    assert not lines.seconds(np.array([(year - 1970) * 365 * 86400 * 10**9], np.uint64))


# Bug: two names that mix to one number are taken for one.
@settings(deadline=None)
@given(st.lists(st.binary(max_size=16), min_size=1, max_size=40))
def test_distinct_names(names: list[bytes]) -> None:
    values = np.array(names, "S16")
    codes, found = distinct(values)
    assert found[codes].tolist() == values.tolist()
    assert len(set(found.tolist())) == len(found)


def connections(count: int, family: Sequence[int], seed: int) -> Records:
    """Connections with the shortest and the longest values there are."""
    chance = np.random.default_rng(seed)
    records = np.zeros(count, ACCEPT)
    for name in ("pid", "tid", "fd", "listen_fd", "netns", "lport", "rport", "wait", "cgroup"):
        most = min(np.iinfo(ACCEPT[name]).max, 2**62)
        records[name] = (most * chance.random(count) ** 20).astype(ACCEPT[name])
    records["time"] = chance.integers(0, 10**18, count) * chance.integers(0, 2, count)
    records["cpu"] = chance.integers(0, CPUS, count)
    for name in ("rxcpu", "fd", "listen_fd"):
        records[name][chance.random(count) < 0.3] = -1
    records["rxcpu"] = chance.integers(-1, CPUS, count)
    records["family"] = chance.choice(family, count)
    for name in ("laddr", "raddr"):
        records[name] = chance.integers(0, 256, (count, 16)) * (chance.random((count, 16)) < 0.5)
        records[name][records["family"] == 4, 4:] = 0
    records["comm"] = chance.choice(np.array(COMMS, "S16"), count)
    records["flags"] = chance.choice([0, WAIT_KNOWN], count)
    records["cgroup"] = chance.choice(np.array([*PATHS, 2**64 - 1], np.uint64), count)
    return records


def written(form: type[Output[AcceptBatch]], *batches: Records) -> str:
    out = io.StringIO(newline="")
    sink = form(out, MACHINE)
    for batch in batches:
        sink.write(AcceptBatch(batch, OFFSET, 0, PATHS))
    return out.getvalue()


# Bugs: a batch of many connections is printed otherwise than the same connections one by one; a
# name is a formula for a spreadsheet, or breaks a line; an address is read as of the other family.
@pytest.mark.parametrize("form", [JsonAccept, CsvAccept, ClassicAccept])
@pytest.mark.parametrize("family", [(4,), (6,), (4, 6)])
def test_many_connections_read_as_few(
    form: type[Output[AcceptBatch]], family: tuple[int, ...]
) -> None:
    for seed, count in enumerate((MANY, MANY + 1, AT_ONCE + MANY, 2 * AT_ONCE + 1)):
        records = connections(count, family, seed)
        # Times of this century, but for one batch.
        if seed != 1:
            records["time"] %= 10**17
        few = [records[first : first + MANY // 2] for first in range(0, count, MANY // 2)]
        assert written(form, records) == written(form, *few)


# Bug: what is printed is no JSON, or not that of its connection.
def test_many_lines_of_json() -> None:
    records = connections(MANY, (4, 6), 0)
    objects = [json.loads(line) for line in written(JsonAccept, records).splitlines()]
    assert [one["pid"] for one in objects] == records["pid"].tolist()
    assert [one["rxcpu"] for one in objects] == records["rxcpu"].tolist()
    known = (records["flags"] == WAIT_KNOWN).tolist()
    assert [one["wait_ns"] is not None for one in objects] == known
    assert {one["cgroup_path"] for one in objects} == {*PATHS.values(), None}
