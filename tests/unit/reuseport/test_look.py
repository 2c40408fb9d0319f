"""The look by probe: which descriptors are asked for."""

from __future__ import annotations

import pytest

from locality.reuseport.look import _bits


# Bug: a descriptor of more than 16 bits sets another bit than the one that the probe looks at,
# number & 65535, so that its calls are never reported.
@pytest.mark.parametrize("fd", [0, 7, 8, 65_535, 65_536, 70_000, 1_048_575])
def test_every_descriptor_has_the_bit_that_the_probe_asks_for(fd: int) -> None:
    bits = _bits([fd]).tobytes()
    assert len(bits) == 65_536 // 8
    kept = fd & 65_535
    assert bits[kept // 8] == 1 << kept % 8
    assert sum(byte.bit_count() for byte in bits) == 1
