"""Packed lists come back as they were, take little room, and cannot be made to do harm."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from locality.errors import LocalityError
from locality.recording.columns import MOST
from locality.skb.packing import pack, unpack
from locality.skb.recording import SkbRecorder

#: The numbers around which a list gets another level.
EDGES = sorted({edge + more for edge in (0, 15, 255, 1 << 16, 1 << 32) for more in range(-2, 300)})
NUMBERS = st.one_of(
    st.integers(0, 20), st.sampled_from([n for n in EDGES if n >= 0]), st.integers(0, MOST)
)


def unpacked(packed: bytes, length: int) -> list[int]:
    found: list[int] = unpack(np.frombuffer(packed, np.uint8), length).tolist()
    return found


# Bugs: the last of an odd number is lost; a number that is the highest of a level comes back as
# another; what does not fit is added to a neighbour; a level is left out because nothing fits.
@given(st.lists(NUMBERS))
@example([])
@example([14] * 40 + [15])
@example([15] * 40)
@example([0] * 40 + [14, 15, 16, 253, 254, 255, 269, 270, 271])
@example([0] * 400 + [15 + 255 + 65535 + (1 << 32) - 1, MOST])
@example([MOST] * 3)
def test_lists_come_back(numbers: list[int]) -> None:
    assert unpacked(pack(np.array(numbers, np.int64)), len(numbers)) == numbers
    # As the counters of the kernel have them.
    assert unpacked(pack(np.array(numbers, np.uint64)), len(numbers)) == numbers


# Bug: the bytes are others than docs/reference/recordings.md says, which other readers go by.
def test_lists_are_as_documented() -> None:
    assert pack(np.array([1, 2, 20])).hex(" ") == "08 01 02 14"
    assert unpacked(bytes.fromhex("04 21 0f 08 05"), 3) == [1, 2, 20]
    assert pack(np.array([1] * 16 + [20])).hex(" ") == "04" + 8 * " 11" + " 0f 08 05"
    assert pack(np.array([300, 0x1234])).hex(" ") == "10 2c 34 01 12"


# Bug: a recording of a large machine is larger than its counts need: a byte for each count takes 13
# to 27 percent more than the entropy.
@pytest.mark.parametrize("mean", [1, 2, 5, 10, 100])
def test_lists_come_near_to_their_entropy(mean: int) -> None:
    counts = np.random.default_rng(2017).poisson(mean, 512 * 512)
    share = np.bincount(counts) / len(counts)
    least = -(share[share > 0] * np.log2(share[share > 0])).sum() * len(counts) / 8
    codec = pa.Codec("zstd", SkbRecorder.COMPRESSION_LEVEL)
    assert len(codec.compress(pack(counts), asbytes=True)) < 1.02 * least


# Bugs: memory is read behind the end of the file; a length without numbers takes gigabytes; a list
# without end; a count that is negative after a sum wrapped round.
@pytest.mark.parametrize(
    ("packed", "length"),
    [
        (b"", 1),
        (b"", 1 << 40),
        (b"\x04", 1),
        (b"\x04\x11", 3),
        (b"\x04\x11\x22", 2),
        (b"\x05\x11", 1),
        (b"\x00", 1),
        (b"\x04\x0f", 1),
        (b"\x04\x0f\x04\x01", 1),
        (b"\x08\xff\x04\x01", 1),
        (b"\x40" + b"\xff" * 8, 1),
        (b"\x40" + b"\xff" * 7 + b"\x7f", 1),
        (b"\x40" + (MOST + 1).to_bytes(8, "little"), 1),
        (b"\x04\x0f\x40" + MOST.to_bytes(8, "little"), 1),
    ],
    ids=str,
)
def test_lists_that_no_recorder_writes(packed: bytes, length: int) -> None:
    with pytest.raises(LocalityError, match="damaged"):
        unpacked(packed, length)
