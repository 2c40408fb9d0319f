"""Lists of small numbers as few bytes, from which compression comes near to their entropy.

Zstandard codes each byte by how often it occurs, in whole bits (Huffman). Most counts of packets
between two CPUs are small. A byte for each has few values, for which whole bits are too coarse, and
the compressor finds short repetitions that are there by chance: coding these takes more room than
the bytes that they replace. Counts around 2 take a quarter more than their entropy. Two counts in a
byte have neither problem: that takes 1 % more.

A packed list is a sequence of levels. A level is a byte that is its width, and so many bits for
each number. Widths are 4, 8, 16, 32 and 64, and each level is wider than the one before:

* 4 bits: two numbers in a byte, the first in its low bits; the last of an odd number has 0 beside.
* more: the lowest byte of all numbers, then the next byte of all. Bytes that are alike then lie
  side by side.

A number does not fit if all bits would be set: then they are, and the next level has what it
exceeds that by. So a few high counts among many low ones cost only their own bytes. The list ends
with a level in which all numbers fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.recording.columns import MOST
from locality.recording.format import damaged

if TYPE_CHECKING:
    from locality.arrays import Array

_HALF_BYTE = 4
#: Width of a level, and the share of its numbers that may not fit. Zstandard has one code for the
#: bytes of both levels, which suits neither: if more do not fit, the next width takes less room.
_WIDTHS = {_HALF_BYTE: 1 / 16, 8: 1 / 2, 16: 1 / 2, 32: 1 / 2, 64: 0}


def _full(width: int) -> int:
    """The number that says that one does not fit; no count is beyond what 64 bits hold."""
    return min((1 << width) - 1, np.iinfo(np.int64).max)


def pack(numbers: Array) -> bytes:
    """A packed list.

    Args:
        numbers: (length,) from 0 to `MOST`.
    """
    levels = []
    for width, most_beside in _WIDTHS.items():
        if not len(numbers):
            break
        full = _full(width)
        fits = numbers < full
        if len(numbers) - np.count_nonzero(fits) > most_beside * len(numbers):
            continue
        levels += [bytes([width]), _bits(np.minimum(numbers, full), width)]
        numbers = numbers[~fits] - full
    return b"".join(levels)


def _bits(numbers: Array, width: int) -> bytes:
    """So many bits of each number."""
    if width != _HALF_BYTE:
        whole = numbers.astype(f"<u{width // 8}")
        return whole.view(np.uint8).reshape(len(whole), -1).T.tobytes()
    both = np.zeros((len(numbers) + 1) // 2 * 2, np.uint8)
    both[: len(numbers)] = numbers
    return (both[::2] | both[1::2] << 4).tobytes()


def unpack(packed: Array, length: int) -> Array:
    """(length,) the numbers of a packed list.

    Args:
        packed: (bytes,) that anybody may have written.
        length: How many numbers it has.

    Raises:
        LocalityError: It is no such list.
    """
    numbers = np.zeros(0, np.int64)
    there = np.arange(0)
    at, left, before = 0, length, 0
    while left:
        width = int(packed[at]) if at < len(packed) else 0
        size = (left * width + 7) // 8
        at += 1 + size
        # Before memory is taken for numbers that are not there.
        if width not in _WIDTHS or width <= before or at > len(packed):
            raise damaged("a list lacks numbers")
        level, beside = np.split(_numbers(packed[at - size : at], width), [left])
        if beside.any():
            raise damaged("a list has more numbers than its length")
        if level.max() > MOST:  # before a sum with it wraps round
            raise damaged("a value out of range in a list")
        full = np.flatnonzero(level == _full(width))
        if before:
            numbers[there] += level.astype(np.int64)
            there = there[full]
        else:
            numbers, there = level.astype(np.int64), full
        left, before = len(full), width
    if at != len(packed):
        raise damaged("a list has bytes behind its end")
    if before > _HALF_BYTE and numbers.max() > MOST:
        raise damaged("a value out of range in a list")
    return numbers


def _numbers(packed: Array, width: int) -> Array:
    """The numbers of a level; with one too many, where the last byte has one only."""
    if width != _HALF_BYTE:
        parts = packed.reshape(width // 8, -1)
        return np.ascontiguousarray(parts.T).view(f"<u{width // 8}").reshape(-1)
    both = np.empty((len(packed), 2), np.uint8)
    both[:, 0] = packed & 0xF
    both[:, 1] = packed >> 4
    return both.reshape(-1)
