"""Addresses of the kernel's functions: what BPF says is what the kernel's list of symbols says."""

from __future__ import annotations

import pytest

from locality.bpf import kallsyms, symbols
from locality.errors import LocalityError
from locality.skb.source import FLUSH_FUNCTIONS
from tests.live.helpers.rungs import ASKED

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]


# Bugs: a part of a function is left out, or its length is not that of the next symbol's address;
# a function that this kernel does not have is found.
def test_bpf_and_the_list_of_symbols_agree() -> None:
    listed = kallsyms.function_ranges(FLUSH_FUNCTIONS, kallsyms.KALLSYMS)
    assert listed, kallsyms.why_hidden()
    try:
        asked = symbols.function_ranges(FLUSH_FUNCTIONS)
    except LocalityError as refusal:
        pytest.skip(f"limitation: {refusal}")
    assert asked == listed
    assert symbols.function_ranges(["there_is_no_such_function"]) == []
