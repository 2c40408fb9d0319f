"""Where the kernel's functions lie, asked by BPF (`probes/symbols.bpf.c`).

The kernel looks names up one by one, whole: a part that the compiler made of a function has a name
of its own, so all the names that parts have are looked up.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from locality.bpf.btf import kernel
from locality.bpf.object import Object
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Collection

_LONGEST_NAME = 64  # LONGEST_NAME of the probe, with the 0 at its end

#: What compilers put behind the name of a clone (clone_function_name of GCC), and of what they
#: take out of either because it is seldom run.
_CLONE = [f".{kind}.{number}" for kind in ("part", "isra", "constprop") for number in (0, 1)]
_CLONES = ("", *_CLONE, *map("".join, product(_CLONE, _CLONE)))
_COLD = ("", ".cold")


def function_ranges(functions: Collection[str]) -> list[tuple[int, int]]:
    """The address ranges of functions; see `kallsyms.function_ranges`, of which this is a part.

    Raises:
        Unsupported: The kernel cannot be asked, or hides addresses; or it has one of the functions,
            but under no name that is known here.
    """
    parts = {
        f"{function}{clone}{cold}": function
        for function, clone, cold in product(functions, _CLONES, _COLD)
    }
    with Object.open("symbols") as probe:
        probe.load()
        found = probe.bss
        names = [*parts]
        if len(names) > len(found["names"]) or max(map(len, names)) >= _LONGEST_NAME:
            raise Unsupported(f"the probe of symbols has no room for {len(names)} names")
        found["names"][: len(names)] = names
        found["num_names"] = len(names)
        probe.test_run("find_symbols")
        ranges = {
            name: _range(address, text)
            for name, address, text in zip(
                names, found["addresses"].tolist(), found["texts"].tolist(), strict=False
            )
            if address
        }
    missing = {*functions} - {parts[name] for name in ranges}
    if unknown := [function for function in missing if kernel().has_function(function)]:
        raise Unsupported(f"the kernel tells no address of {', '.join(sorted(unknown))}")
    return sorted(ranges.values())


def _range(address: int, text: bytes) -> tuple[int, int]:
    """From "net_rx_action+0x0/0x2d0", which tells the length last."""
    if not text:  # bpf_snprintf() had no buffer left
        raise Unsupported("the kernel does not tell how long a function is")
    return address, address + int(text.rpartition(b"/")[2], 16)
