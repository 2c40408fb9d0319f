r"""Many lines of one form at once, as bytes: for JSON and CSV of thousands of rows.

All lines are made in one array that gives each part of a line as many bytes as its longest value
takes. What a value leaves of its place is NUL, and NULs are dropped from the whole at the end; no
text of JSON or CSV has any. For less than some hundred lines, Python's own formatting is faster.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.arrays import Array

#: From so many lines on this is the faster way.
MANY = 200
#: So many lines at once stay in a CPU's cache.
AT_ONCE = 4096

#: Digits are looked up four at a time, and written as one number of 32 bits.
_GROUP = 10_000
_SMALL = 4
#: The floats from here to there have steps of 2**-22: times from 2004 to 2038, in seconds.
_FIRST, _LAST, _STEP_BITS = 1 << 30, 1 << 31, 22
#: Odd numbers.
_MIX = np.array([1, 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


class ByteLines:
    """Lines that are put together part by part, from left to right.

    Args:
        count: How many lines.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        #: A line of NULs but for what all lines have.
        self._line = bytearray()
        self._fields: list[tuple[int, Array]] = []

    def same(self, text: bytes) -> None:
        """Add a text that all lines have."""
        self._line += text

    def fields(self, values: Array) -> None:
        """Add the bytes of (lines,) values, those that are NUL left out."""
        self._fields.append((len(self._line), values))
        self._line += bytes(values.dtype.itemsize)

    def texts(self, codes: Array, texts: Sequence[bytes]) -> None:
        """Add a text to each line.

        Args:
            codes: (lines,) indices of texts.
            texts: Distinct ones.
        """
        if len(texts) == 1:
            self.same(texts[0])
        elif any(texts):
            self.fields(np.array(texts)[codes])

    def numbers(self, values: Array, known: Array | None = None, unknown: bytes = b"") -> None:
        """Add (lines,) integers.

        Args:
            values: The integers.
            known: (lines,) whether a line has one; all have, if None.
            unknown: What the others have.
        """
        if known is None or known.all():
            self._numbers(values)
            return
        begin = len(self._fields)
        self._numbers(np.where(known, values, values.dtype.type(0)))
        self._fields[begin:] = [
            (offset, np.where(known, some, some.dtype.type(0)))
            for offset, some in self._fields[begin:]
        ]
        if unknown:
            self.fields(np.where(known, b"", unknown))

    def _numbers(self, values: Array) -> None:
        if values.dtype.kind == "i" and int(values.min()) < 0:
            negative = values < 0
            self.fields(negative.astype(np.uint8) * np.uint8(ord("-")))
            # The lowest number of a signed type has no positive one there.
            magnitudes = values.astype(f"u{values.dtype.itemsize}")
            values = np.where(negative, -magnitudes, magnitudes)
        highest = int(values.max())
        none, some, full, _ = _digits()
        if highest < _GROUP:
            self.fields(some[values])
            return
        groups = []
        while highest:
            values, group = np.divmod(values, _GROUP)
            groups.append(group.astype(np.intp))
            highest //= _GROUP
        begun = groups[-1] > 0
        self.fields(none[groups.pop()])
        while groups:
            group = groups.pop()
            blank = some if not groups else none
            self.fields(np.where(begun, full[group], blank[group]))
            begun |= group > 0

    def padded(self, values: Array, digits: int) -> None:
        """Add (lines,) integers with so many digits, zeros at the beginning among them."""
        full = _digits()[2]
        groups = -(-digits // _SMALL)
        for group in reversed(range(groups)):
            texts = full[values // _GROUP**group % _GROUP]
            if group == groups - 1 and digits % _SMALL:
                whole = texts.view(np.uint8).reshape(-1, _SMALL)
                whole[:, : -(digits % _SMALL)] = 0
            self.fields(texts)

    def seconds(self, ns: Array) -> bool:
        """Add (lines,) times in seconds, as Python prints the floats nearest to them.

        Args:
            ns: Since the epoch.

        Returns:
            False: Nothing was added, for one of them is not from 2004 to 2038.
        """
        seconds = ns / 1e9
        if seconds.min() < _FIRST or seconds.max() >= _LAST:
            return False
        steps = np.ldexp(seconds, _STEP_BITS).astype(np.int64)
        whole, part = steps >> _STEP_BITS, steps & ((1 << _STEP_BITS) - 1)
        # Six digits are enough if no other float is as near to them; if not, seven always are.
        six = _rounded(part * 10**6)
        enough = np.abs((six << _STEP_BITS) - part * 10**6) < 10**6 // 2
        seven = np.where(enough, six * 10, _rounded(part * 10**7))
        self.numbers(whole)
        _, _, full, tail = _digits()
        high, low = np.divmod(seven, _GROUP)
        # The point takes the place of a fourth digit.
        point = np.where(low > 0, full[high], tail[high]).view(np.uint8).reshape(-1, _SMALL)
        point[:, 0] = ord(".")
        point[point[:, 1] == 0, 1] = ord("0")
        self.fields(np.ascontiguousarray(point).view(np.uint32).reshape(-1))
        self.fields(tail[low])
        return True

    def join(self) -> bytes:
        """All lines, one after the other."""
        width = len(self._line)
        whole = np.frombuffer(self._line * self._count, np.uint8).copy()
        for offset, values in self._fields:
            place = np.ndarray((self._count,), values.dtype, whole.data, offset, (width,))
            place[:] = values
        return whole.tobytes().translate(None, b"\0")


def _rounded(steps: Array) -> Array:
    """Numbers of steps of 2**-22 as whole numbers; of two that are as near, the even one."""
    half = 1 << (_STEP_BITS - 1)
    up = (steps + half) >> _STEP_BITS
    tie = (steps & ((1 << _STEP_BITS) - 1)) == half
    rounded: Array = up - (tie & (up & 1 == 1))
    return rounded


@cache
def _digits() -> tuple[Array, Array, Array, Array]:
    """(10000,) four digits of each number as 32 bits, without some of the zeros.

    Returns:
        Without zeros at the beginning, and nothing for 0; the same, but ``0`` for 0; with all
        zeros; and without zeros at the end, and nothing for 0.
    """
    number = np.arange(_GROUP)
    powers = 10 ** np.arange(_SMALL)[::-1]
    digits = (number[:, None] // powers % 10 + ord("0")).astype(np.uint8)
    none = np.where(number[:, None] >= powers, digits, 0)
    some = none.copy()
    some[0, -1] = ord("0")
    tail = np.where(number[:, None] % (powers * 10) > 0, digits, 0)
    none, some, full, tail = (
        np.ascontiguousarray(one, np.uint8).view(np.uint32).reshape(-1)
        for one in (none, some, digits, tail)
    )
    return none, some, full, tail


def distinct(values: Array) -> tuple[Array, Array]:
    """The distinct ones among texts of fixed size, and which of them each is.

    Args:
        values: (rows,) of dtype ``S``.

    Returns:
        (rows,) codes, and the values by code.
    """
    first = values[:1]
    if (values == first).all():
        return np.zeros(len(values), np.intp), first
    words = values.dtype.itemsize // 8
    if words * 8 == values.dtype.itemsize:
        # Numbers sort much faster than texts. Different texts may give the same one.
        parts = np.ascontiguousarray(values).view(np.uint64).reshape(-1, words)
        mixed = np.bitwise_xor.reduce(parts * _MIX[:words], axis=1)
        _, index, codes = np.unique(mixed, return_index=True, return_inverse=True)
        found = values[index]
        if (found[codes] == values).all():
            return codes, found
    found, codes = np.unique(values, return_inverse=True)
    return codes, found
