"""The spread program on packets that no sender sends: what it may not touch, it leaves alone."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locality.bpf import run
from locality.bpf.counters import Counters
from locality.machine import topology
from locality.spread.source import COUNTS, FIGURES, open_object
from tests.live.helpers import spread_reference as reference
from tests.live.helpers.rungs import ASKED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.bpf.object import Object

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]

XDP_PASS = 2
PROGRAMS = ("locality_spread", "locality_spread_buffers")
LONGEST = {"locality_spread": 3000, "locality_spread_buffers": 9000}
SEED = 0x5CA1E


@contextmanager
def loaded(program: str) -> Iterator[tuple[Object, Counters]]:
    with open_object(reference.PORTS, program) as obj:
        yield obj, Counters(obj, "counts", COUNTS, (topology.possible_cpus(),))


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Iterator[tuple[Object, Counters, str]]:
    with loaded(request.param) as (obj, counters):
        yield obj, counters, request.param


def attempt(obj: Object, name: str, packet: bytes) -> reference.Fate:
    answer, after = run.on_packet(obj, name, packet)
    assert answer == XDP_PASS
    return reference.check(packet, after)


# Bugs: a byte that is none of ours is changed; a checksum that was right is not any more, or one
# that was wrong is made right; a fragment, a cut header, a length that lies, a third VLAN tag is
# taken for a datagram; a counter that misses or counts twice.
def test_thousands_of_packets(program: tuple[Object, Counters, str]) -> None:
    obj, counters, name = program
    source = random.Random(SEED)  # noqa: S311 - to be had again
    before = counters.read()
    fates = Counter(
        attempt(obj, name, reference.packet(source, LONGEST[name])) for _ in range(20_000)
    )
    # Each kind is there in numbers: the generator does test what it says.
    assert min(fates.values()) > 2_000, fates
    after = counters.read()
    counted = {figure: int((after[figure] - before[figure]).sum()) for figure in FIGURES}
    assert counted == {"seen": 20_000} | {fate.value: fates[fate] for fate in reference.Fate}


# The same where the search is guided, and a failure is made small.
@settings(max_examples=1_000)
@given(source=st.randoms(use_true_random=False))
def test_any_packet(program: tuple[Object, Counters, str], source: random.Random) -> None:
    obj, _, name = program
    attempt(obj, name, reference.packet(source))


# Bugs: a program that reads past a cut packet gets no further than the verifier; one that takes
# a cut datagram for whole rewrites what is not there. Every length of one good packet.
def test_a_packet_cut_anywhere(program: tuple[Object, Counters, str]) -> None:
    obj, _, name = program
    source = random.Random(SEED)  # noqa: S311
    whole = next(
        one
        for one in (reference.packet(source, 300) for _ in range(10_000))
        if len(one) > 100 and reference.expect(one).fate is reference.Fate.REWRITTEN
    )
    end = reference.expect(whole).udp + reference.expect(whole).length
    for length in range(14, len(whole) + 1):
        fate = attempt(obj, name, whole[:length])
        assert (fate is reference.Fate.REWRITTEN) == (length >= end), length


# Bug: one update in 65535 comes out as 0, which says on IPv4 that there is no checksum, and is
# refused on IPv6. A million updates one after the other; a 0 would stay to the end.
@pytest.mark.parametrize("family", [4, 6])
def test_an_updated_checksum_is_never_none(
    program: tuple[Object, Counters, str], family: int
) -> None:
    obj, _, name = program
    frame = reference.good(family)
    (udp, end) = reference.expect(frame).udp, len(frame)
    after = run.on_packet(obj, name, frame, times=1_000_000).packet
    assert after[udp + 6 : udp + 8] != bytes(2)
    assert reference.total(after[udp:end]) == reference.total(frame[udp:end])


# Bug: a port of the bitmap is one beside the port meant.
@pytest.mark.parametrize("port", [1, 7, 8, 4000, 65535])
def test_only_the_chosen_port(port: int) -> None:
    with open_object([port], PROGRAMS[0]) as obj:
        for to in {max(0, port - 1), port, min(65535, port + 1)}:
            udp = b"\x11\x11" + to.to_bytes(2, "big") + b"\0\x08\0\0"
            ip = bytes.fromhex("4500001c00004000401100000a0000010a000002")
            frame = bytes(12) + b"\x08\0" + ip + udp
            changed = run.on_packet(obj, PROGRAMS[0], frame).packet != frame
            # One in 64512 draws the port it had: 0x1111 is one of them, and then nothing changes.
            changed = changed or run.on_packet(obj, PROGRAMS[0], frame).packet != frame
            assert changed == (to == port)


# Bug: one part of the source ports is never drawn, or some are drawn that no client has.
def test_source_ports_are_even() -> None:
    frame = bytes(12) + bytes.fromhex(
        "0800" + "4500001c00004000401100000a0000010a000002" + "11110fa000080000"
    )
    with open_object([4000], PROGRAMS[0]) as obj:
        drawn = [
            int.from_bytes(run.on_packet(obj, PROGRAMS[0], frame).packet[34:36], "big")
            for _ in range(16_000)
        ]
    assert 1024 <= min(drawn) <= max(drawn) <= 65535
    sixteenths = Counter((port - 1024) * 16 // 64512 for port in drawn)
    assert sorted(sixteenths) == list(range(16))
    # 1000 each, standard deviation 31: six of them.
    assert all(abs(count - 1000) < 190 for count in sixteenths.values()), sixteenths
