"""BTF: the kernel's own description of its types, and an object's of its records.

The encoding is the kernel's Documentation/bpf/btf.rst. libbpf parses and indexes it;
here single types are looked at in place, so asking the kernel's 5 MB of BTF one
question costs microseconds.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.bpf.libbpf import lib
from locality.errors import LocalityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Kind(IntEnum):
    """BTF_KIND_*: the kinds of type that are looked for here."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    DATASEC = 15
    TYPE_TAG = 18
    ENUM64 = 19


_TRANSPARENT = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
_INT_SIGNED = 1

KERNEL_TYPES = Path("/sys/kernel/btf/vmlinux")


class Type(NamedTuple):
    """One `struct btf_type` and what follows it in memory."""

    name: str
    kind: int
    vlen: int
    size_or_type: int
    kind_flag: bool
    data: int  # the address behind the fixed part


class Member(NamedTuple):
    """A member of a structure, a variable of a section; `offset` in bits."""

    name: str
    type_id: int
    offset: int


class Btf:
    """Types, by libbpf's `struct btf` handle.

    Args:
        handle: The address, or a function that finds it when it is first needed. It must
            outlive this object.
    """

    def __init__(self, handle: int | Callable[[], int]) -> None:
        self._given = handle
        self._found: dict[tuple[str, Kind], int | None] = {}

    @cached_property
    def _handle(self) -> int:
        return self._given if isinstance(self._given, int) else self._given()

    def find(self, name: str, kind: Kind) -> int | None:
        """The id of a named type, or None."""
        # libbpf looks at one type after the other: a millisecond, of which a ladder asks many.
        if (name, kind) not in self._found:
            found: int = lib.btf__find_by_name_kind(self._handle, name.encode(), kind)
            self._found[name, kind] = found if found > 0 else None
        return self._found[name, kind]

    def type(self, type_id: int) -> Type:
        """The type with this id."""
        address = lib.btf__type_by_id(self._handle, type_id)
        if not address:
            raise LocalityError(f"BTF has no type {type_id}")
        name_offset, info, size_or_type = (ctypes.c_uint32 * 3).from_address(address)
        name: bytes = lib.btf__name_by_offset(self._handle, name_offset)
        return Type(
            name=name.decode(),
            kind=info >> 24 & 0x1F,
            vlen=info & 0xFFFF,
            size_or_type=size_or_type,
            kind_flag=bool(info >> 31),
            data=address + 12,
        )

    def resolve(self, type_id: int) -> Type:
        """The type behind typedefs and qualifiers."""
        resolved = self.type(type_id)
        while resolved.kind in _TRANSPARENT:
            resolved = self.type(resolved.size_or_type)
        return resolved

    def members(self, composite: Type) -> Iterator[Member]:
        """The members of a struct, union or section, in order."""
        words = (ctypes.c_uint32 * (3 * composite.vlen)).from_address(composite.data)
        for first in range(0, 3 * composite.vlen, 3):
            one, two, three = words[first : first + 3]
            if composite.kind == Kind.DATASEC:
                yield Member(self.type(one).name, self.type(one).size_or_type, two * 8)
            else:
                name: bytes = lib.btf__name_by_offset(self._handle, one)
                offset = three & 0xFFFFFF if composite.kind_flag else three
                yield Member(name.decode(), two, offset)

    def has_member(self, struct: str, member: str) -> bool:
        """Whether a struct has a member, also inside anonymous structs and unions."""
        type_id = self.find(struct, Kind.STRUCT)
        return type_id is not None and self._contains(self.type(type_id), member)

    def _contains(self, composite: Type, wanted: str) -> bool:
        for member in self.members(composite):
            if member.name == wanted:
                return True
            if not member.name:
                inner = self.resolve(member.type_id)
                if inner.kind in {Kind.STRUCT, Kind.UNION} and self._contains(inner, wanted):
                    return True
        return False

    def has_function(self, name: str) -> bool:
        """Whether the kernel has this function, so that a probe could name it."""
        return self.find(name, Kind.FUNC) is not None

    def tracepoint_arguments(self, name: str) -> int | None:
        """How many arguments a tracepoint hands to a raw probe, or None without it.

        Source: `typedef void (*btf_trace_NAME)(void *, ...)` of include/trace/bpf_probe.h.
        """
        type_id = self.find(f"btf_trace_{name}", Kind.TYPEDEF)
        if type_id is None:
            return None
        prototype = self.resolve(self.resolve(type_id).size_or_type)
        return prototype.vlen - 1

    def dtype(self, type_id: int) -> np.dtype[np.generic]:
        """The numpy dtype with the same layout: integers, arrays and structs of them.

        Arrays of `char` become byte strings. Pointers become 64-bit addresses.
        """
        resolved = self.resolve(type_id)
        match resolved.kind:
            case Kind.INT:
                encoding = ctypes.c_uint32.from_address(resolved.data).value >> 24
                sign = "i" if encoding & _INT_SIGNED else "u"
                return np.dtype(f"{sign}{resolved.size_or_type}")
            case Kind.ENUM | Kind.ENUM64:
                return np.dtype(f"u{resolved.size_or_type}")
            case Kind.PTR:
                return np.dtype("u8")
            case Kind.ARRAY:
                element_id, _index, count = (ctypes.c_uint32 * 3).from_address(resolved.data)
                if self.resolve(element_id).name == "char":
                    return np.dtype(f"S{count}")
                return np.dtype((self.dtype(element_id), (count,)))
            case Kind.STRUCT:
                return self._structured(resolved, resolved.size_or_type)
        raise LocalityError(f"BTF type {resolved.name or type_id} has no numpy equivalent")

    def struct(self, name: str) -> np.dtype[np.generic]:
        """The dtype of a named struct."""
        type_id = self.find(name, Kind.STRUCT)
        if type_id is None:
            raise LocalityError(f"the object's BTF has no struct {name}: rebuild it (make probes)")
        return self.dtype(type_id)

    def section(self, name: str, size: int) -> np.dtype[np.generic]:
        """The dtype of a data section (`.rodata`, `.bss`): one field per global variable.

        Args:
            name: The section.
            size: Its size in bytes; the section's own record of it is filled in late.
        """
        type_id = self.find(name, Kind.DATASEC)
        if type_id is None:
            raise LocalityError(f"the object has no section {name}")
        return self._structured(self.type(type_id), size)

    def _structured(self, composite: Type, size: int) -> np.dtype[np.generic]:
        members = list(self.members(composite))
        return np.dtype(
            {
                "names": [member.name for member in members],
                "formats": [self.dtype(member.type_id) for member in members],
                "offsets": [member.offset // 8 for member in members],
                "itemsize": size,
            }
        )


def check_layout(expected: np.dtype[np.generic], actual: np.dtype[np.generic], what: str) -> None:
    """Compare a record's dtype with the one its object's BTF gives.

    Raises:
        LocalityError: They differ; the message names the first field that does.
    """
    for name in dict.fromkeys((*(expected.names or ()), *(actual.names or ()))):
        ours, theirs = (dict(layout.fields or {}).get(name) for layout in (expected, actual))
        if ours is None or theirs is None or ours[:2] != theirs[:2]:
            raise LocalityError(
                f"{what}.{name} is {_describe(theirs)} in the compiled probe "
                f"but {_describe(ours)} here: rebuild the probes (make probes)"
            )
    if expected.itemsize != actual.itemsize:
        raise LocalityError(
            f"{what} has {actual.itemsize} bytes in the compiled probe "
            f"but {expected.itemsize} here: rebuild the probes (make probes)"
        )


def _describe(field: tuple[np.dtype[np.generic], int] | tuple[object, ...] | None) -> str:
    return "missing" if field is None else f"{field[0]} at byte {field[1]}"


@cache
def kernel() -> Btf:
    """The running kernel's types; parsed, which takes 10 ms, when the first one is asked for.

    The first question raises `Unsupported` if the kernel was built without
    CONFIG_DEBUG_INFO_BTF.
    """
    return Btf(_load_kernel)


def require_kernel_types() -> None:
    """Raise `Unsupported` if the running kernel does not describe its types."""
    kernel().find("sk_buff", Kind.STRUCT)


def _load_kernel() -> int:
    handle: int = mapped_types() or lib.btf__load_vmlinux_btf()
    if not handle:
        raise Unsupported(
            "this kernel has no BTF (/sys/kernel/btf/vmlinux cannot be read): locality needs "
            "CONFIG_DEBUG_INFO_BTF=y, or for accept and skb --engine bcc"
        )
    return handle


def mapped_types() -> int:
    """The kernel's types from its own pages, in half the time that reading takes; 0 if not mapped.

    Linux maps them since 6.16. Only libbpf 1.6 and newer does so by itself; an older one reads them
    with a system call for each page.
    """
    with suppress(OSError, ValueError), KERNEL_TYPES.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
        types = np.frombuffer(pages, np.uint8)
        # libbpf makes its own copy.
        handle: int | None = lib.btf__new(types.__array_interface__["data"][0], types.size)
        return handle or 0
    return 0
