"""Which texts are numbers."""

from __future__ import annotations

import pytest

from locality.machine import digits

#: What Python takes for a number, and people do not write as one.
FOREIGN = ["٣", "1_000", "+5", " 5", "5 ", "5\n", "²", "", "-", "--5", "5" * 21]


# Bug: int() reads these, and chooses a CPU or a process that nobody named; of a number of a
# million digits it makes one for minutes.
@pytest.mark.parametrize("text", [*FOREIGN, "-5", "0x5", "5.0"])
def test_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match="no whole number"):
        digits.whole(text)


@pytest.mark.parametrize("text", [*FOREIGN[:4], "1e٣", "inf", "nan", "1e", ".", "0x1p3"])
def test_no_decimal_number(text: str) -> None:  # bug: as above
    with pytest.raises(ValueError, match="no number"):
        digits.decimal(text)


@pytest.mark.parametrize("text", [*FOREIGN, "0xfg", "0x_f", "0b2", "0b", "0x", "0o7"])
def test_no_number_of_any_base(text: str) -> None:  # bug: as above
    with pytest.raises(ValueError, match="no"):
        digits.with_base(text)


# Bug: a number that was good is refused.
def test_numbers() -> None:
    assert [digits.whole(text) for text in ("0", "007", "18446744073709551615")] == [
        0,
        7,
        2**64 - 1,
    ]
    assert digits.whole("-1", signed=True) == -1
    assert [digits.decimal(text) for text in ("0.5", ".5", "5.", "1e-3", "-1")] == [
        *(0.5, 0.5, 5.0, 0.001, -1.0)
    ]
    assert [digits.with_base(text) for text in ("128", "0x80", "0b10000000")] == [128] * 3
    assert digits.hexadecimal("00fF") == 255
