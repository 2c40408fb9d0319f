"""Functions' address ranges from /proc/kallsyms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.bpf.kallsyms import function_ranges, functions

if TYPE_CHECKING:
    from pathlib import Path

# As a kernel writes it: 6.12 with call padding, one function split, one module at the end.
CAPTURED = """\
0000000000000000 D __per_cpu_start
ffffffff81a3f0e0 t __pfx_skb_defer_free_flush
ffffffff81a3f0f0 t skb_defer_free_flush
ffffffff81a3f1e0 t skb_defer_free_flush.part.0
ffffffff81a3f2a0 T dev_cpu_dead
ffffffff81a40000 t net_rx_action_late
ffffffff81a40100 t __net_rx_action
ffffffff81a40200 t net_rx_action
ffffffff81a40480 t napi_threaded_poll_loop.isra.0
ffffffff81a40700 t napi_threaded_poll
ffffffff81e00123 t net_rx_action.cold
ffffffff81e00150 t last_of_text.cold
ffffffff82001000 D net_rx_action_key
ffffffff82001010 d net_rx_data
ffffffff82001020 W weak_one
ffffffff82001040 w weak_two
ffffffffc0a01000 t net_rx_action\t[some_module]
ffffffffc0a01100 t end_of_module\t[some_module]
"""


@pytest.fixture
def captured(tmp_path: Path) -> Path:
    path = tmp_path / "kallsyms"
    path.write_text(CAPTURED)
    return path


# A flush is recognized by these addresses. A part left out (.cold, .part) loses packets,
# a name that only begins or ends like it takes in another function.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "net_rx_action",
            [(0xFFFFFFFF81A40200, 0xFFFFFFFF81A40480), (0xFFFFFFFF81E00123, 0xFFFFFFFF81E00150)],
        ),
        ("napi_threaded_poll_loop", [(0xFFFFFFFF81A40480, 0xFFFFFFFF81A40700)]),
        ("napi_threaded_poll", [(0xFFFFFFFF81A40700, 0xFFFFFFFF81E00123)]),
        ("dev_cpu_dead", [(0xFFFFFFFF81A3F2A0, 0xFFFFFFFF81A40000)]),
        ("weak_one", [(0xFFFFFFFF82001020, 0xFFFFFFFF82001040)]),
    ],
)
def test_each_part_of_just_this_function(
    captured: Path, name: str, expected: list[tuple[int, int]]
) -> None:
    assert function_ranges([name], captured) == expected


# Two parts side by side: the line that ends one begins the next, and must serve for both.
def test_neighbours(captured: Path) -> None:
    assert function_ranges(["skb_defer_free_flush", "dev_cpu_dead"], captured) == [
        (0xFFFFFFFF81A3F0F0, 0xFFFFFFFF81A3F1E0),
        (0xFFFFFFFF81A3F1E0, 0xFFFFFFFF81A3F2A0),
        (0xFFFFFFFF81A3F2A0, 0xFFFFFFFF81A40000),
    ]


# Data and functions that do not exist are no ranges, and no reason to fail.
@pytest.mark.parametrize("name", ["net_rx_data", "skb_defer_node_flush", "end_of_module"])
def test_missing(captured: Path, name: str) -> None:
    assert function_ranges([name], captured) == []


# With kptr_restrict all addresses read as zero: a range [0, 0) or [0, x) would match nothing
# or everything, and the caller could not tell that the addresses were hidden.
def test_hidden_addresses(tmp_path: Path) -> None:
    hidden = tmp_path / "kallsyms"
    hidden.write_text(
        "".join(f"{'0' * 16} {line.partition(' ')[2]}\n" for line in CAPTURED.splitlines())
    )
    assert function_ranges(["net_rx_action", "dev_cpu_dead"], hidden) == []


# A dot in a name is a dot: "a.b" as a pattern would also find "a_b".
def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("10 t a_b\n20 t a.b\n30 t c\n")
    assert function_ranges(["a.b"], path) == [(0x20, 0x30)]


# Without BTF a ladder is chosen by these names: a part of a function, one of a module or data
# cannot be hooked by the name. What hides addresses leaves the names.
def test_functions_by_name(captured: Path) -> None:
    found = functions(captured)
    assert {"dev_cpu_dead", "weak_one", "net_rx_action", "net_rx_action.cold"} <= found
    assert not {"net_rx_data", "end_of_module", "napi_threaded_poll_loop"} & found
