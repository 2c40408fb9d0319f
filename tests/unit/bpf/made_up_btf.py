"""BTF of kernels that cannot be booted here, put together from what the tool asks of it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from locality.bpf.btf import Btf
from locality.bpf.libbpf import lib

if TYPE_CHECKING:
    from collections.abc import Mapping

_INT_BITS = 32


@dataclass(frozen=True)
class MadeUp:
    """What a kernel has.

    Attributes:
        functions: Names.
        tracepoints: How many arguments each hands to a raw probe.
        members: Of structs.
    """

    functions: frozenset[str] = frozenset()
    tracepoints: Mapping[str, int] = field(default_factory=dict)
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def having(self, *functions: str) -> MadeUp:
        """The same with more functions."""
        return MadeUp(self.functions | set(functions), self.tracepoints, self.members)

    def btf(self) -> Btf:
        """As the kernel would describe itself; the memory is never given back."""
        make = lib.btf__new_empty
        make.restype, make.argtypes = ctypes.c_void_p, ()
        handle = make()
        assert handle
        number = _add(handle, "int", b"int", 4, 1)
        for struct, members in self.members.items():
            _add(handle, "struct", struct.encode(), 4 * len(members))
            for place, member in enumerate(members):
                _add(handle, "field", member.encode(), number, place * _INT_BITS, 0)
        for function in sorted(self.functions):
            prototype = _add(handle, "func_proto", number)
            _add(handle, "func", function.encode(), 1, prototype)
        for tracepoint, arguments in self.tracepoints.items():
            prototype = _add(handle, "func_proto", 0)
            for _ in range(1 + arguments):  # the first is the probe's own
                _add(handle, "func_param", b"", number)
            pointer = _add(handle, "ptr", prototype)
            _add(handle, "typedef", f"btf_trace_{tracepoint}".encode(), pointer)
        return Btf(handle)


def _add(handle: int, kind: str, *words: bytes | int) -> int:
    """Call btf__add_KIND; the id of what was added."""
    function = getattr(lib, f"btf__add_{kind}")
    function.restype = ctypes.c_int
    function.argtypes = (
        ctypes.c_void_p,
        *(ctypes.c_char_p if isinstance(word, bytes) else ctypes.c_int for word in words),
    )
    added: int = function(handle, *words)
    assert added >= 0, f"btf__add_{kind}{words}: {added}"
    return added
