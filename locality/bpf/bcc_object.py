"""A probe object that bcc compiles here and now, against the kernel's headers.

Where the kernel has no BTF, CO-RE cannot know where its fields are. The compiled object still
tells what there is: libbpf opens it, and never loads it, for the programs' sections, the maps,
the constants and the layout of the records. The maps are made from that, and bcc compiles the
same source with their descriptors in it (`probes/bcc_dialect.h`). So everything but loading and
attaching is as in `object.Object`, and the readers see no difference.

bcc is the distribution's (Debian: python3-bpfcc). What PyPI has by that name is another thing.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import PAGESIZE
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from locality.bpf import handles
from locality.bpf.compiled import PROBES
from locality.bpf.headers import Headers
from locality.bpf.libbpf import lib
from locality.bpf.object import Object
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import IO

    import numpy as np

#: The kinds of program that need no BTF, by the beginning of their section.
KINDS = ("kprobe/", "kretprobe/", "raw_tp/", "tp/")

#: Fields that not every kernel has; the sources ask for HAS_struct_member.
FIELDS = (("sk_buff", "alloc_cpu"),)

#: Whose registers the dialect names. Kernels of arm64 without BTF are rare, and none was tried.
MACHINE = "x86_64"

#: What the dialect's macros make a program's name to.
PREFIX = "on_"

_RINGBUF = 27  # BPF_MAP_TYPE_RINGBUF of include/uapi/linux/bpf.h


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf's bpf.h."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("btf", ctypes.c_uint32 * 4),
        ("inner_map_fd", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("numa_node", ctypes.c_uint32),
        ("map_ifindex", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Map:
    """A map that was made: its descriptor, and how many entries it has (a ring: bytes)."""

    fd: int
    entries: int


def require_bcc() -> Any:  # noqa: ANN401 - bcc has no types
    """The distribution's module.

    Raises:
        Unsupported: It cannot be imported, another one has its name, or the probes are not written
            in its dialect for this machine.
    """
    if platform.machine() != MACHINE:
        raise Unsupported(
            f"engine bcc reads the registers of {MACHINE} only, and this machine is "
            f"{platform.machine()}: use a kernel with BTF",
            answer=f"on {MACHINE} only",
        )
    try:
        import bcc  # noqa: PLC0415 - takes 0.1 s, and only who chose it needs it
    except (ImportError, OSError) as error:  # OSError: a library of it cannot be loaded
        raise Unsupported(
            f"bcc cannot be imported ({error}): on Debian, apt-get install python3-bpfcc; in a "
            "virtual environment, link /usr/lib/python3/dist-packages/bcc into its site-packages",
            answer="bcc cannot be imported",
        ) from None
    if not hasattr(bcc, "BPF"):
        raise Unsupported(
            f"the module bcc in {bcc.__file__} is not the BPF Compiler Collection: what PyPI has "
            "by that name is something else; pip uninstall bcc",
            answer="another module is called bcc",
        )
    return bcc


class BccObject(Object):
    """A probe of `locality/probes`, compiled by bcc from ``NAME.bpf.c`` when it is loaded."""

    def __init__(self, name: str, handle: int) -> None:
        super().__init__(name, handle)
        self._made: dict[str, Map] = {}
        self._module: Any = None

    def _require(self, sections: Sequence[str]) -> None:
        for section in sections:
            if not section.startswith(KINDS):
                kind = section.partition("/")[0]
                raise Unsupported(f"{kind} needs BTF, not bcc", answer="needs BTF")
        super()._require(sections)

    def load(self) -> None:
        """Make the maps, compile; what is attached is loaded with it.

        Raises:
            Unsupported: The kernel refused a map, or bcc the source; the message has the reason.
        """
        bcc = require_bcc()
        headers = Headers.installed()
        self._make_maps()
        flags = [f"-I{PROBES}", "-Wno-int-conversion"]
        flags += [
            f"-DHAS_{struct}_{member}={int(headers.has_member(struct, member))}"
            for struct, member in FIELDS
        ]
        with _diverted_stderr() as said:
            try:
                self._module = bcc.BPF(text=self._text().encode(), cflags=flags)
            except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
                reason = _first(said, "error: ") or str(error)
                raise Unsupported(
                    f"bcc could not compile {self.name} against {headers.tree}: {reason}",
                    answer="bcc could not compile it",
                ) from None

    def _text(self) -> str:
        """What bcc compiles: macros for the maps and variables, then the source as it is."""
        lines = ["#define LOCALITY_BCC", '#include "dialect.h"']
        for name, one in self._made.items():
            if not name.startswith("."):
                lines.append(f"#define {name} MAP_OF({one.fd})")
                continue
            size = len(self._initial_value(name))
            lines += _variables(self.btf.section(name, size), one.fd)
        lines.append(f'#include "{self.name}.bpf.c"')
        return "\n".join(lines) + "\n"

    def _make_maps(self) -> None:
        """Make every map as its definition in the object says."""
        for handle in handles.maps(self._open_handle):
            name = lib.bpf_map__name(handle).decode()
            if "." in name:  # a data section's map carries the object's name in front
                name = f".{name.partition('.')[2]}"
            self._made[name] = self._make(name, handle)
            if name.startswith("."):
                self._fill(name)

    def _make(self, name: str, handle: int) -> Map:
        kind, entries = lib.bpf_map__type(handle), lib.bpf_map__max_entries(handle)
        if kind == _RINGBUF:  # what libbpf does to it: a power of two of pages
            entries = max(PAGESIZE, 1 << (entries - 1).bit_length())
        options = _MapOptions(
            sz=ctypes.sizeof(_MapOptions), map_flags=lib.bpf_map__map_flags(handle)
        )
        fd = lib.bpf_map_create(
            kind,
            name.strip(".")[:15].encode(),
            lib.bpf_map__key_size(handle),
            lib.bpf_map__value_size(handle),
            entries,
            ctypes.byref(options),
        )
        if fd < 0:
            raise _refused(f"the map {name}")
        return Map(fd, entries)

    def _fill(self, name: str) -> None:
        """Give a data section its values; the verifier takes constants for what they are."""
        fd, key, value = self._made[name].fd, ctypes.c_uint32(0), self._initial_value(name)
        if lib.bpf_map_update_elem(fd, ctypes.byref(key), value, 0):
            raise _refused(f"the values of {name}")
        if name == ".rodata" and lib.bpf_map_freeze(fd):
            raise _refused(f"to freeze {name}")

    def attach(self, names: Collection[str]) -> None:
        """Load the programs, and attach each to what its section names.

        Raises:
            Unsupported: The kernel refused one; those attached before stay until `close`.
        """
        kinds = {"kprobe": "KPROBE", "kretprobe": "KPROBE", "raw_tp": "RAW_TRACEPOINT"}
        bpf = type(self._module)
        for name, section in self.sections(names).items():
            kind, _, target = section.partition("/")
            function = f"{PREFIX}{name}".encode()
            with _diverted_stderr() as said:
                try:
                    self._module.load_func(function, getattr(bpf, kinds.get(kind, "TRACEPOINT")))
                    self._attach(kind, target, function)
                except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
                    reason = _last(said) or str(error)
                    raise Unsupported(f"the kernel refused {section} (bcc): {reason}") from None
            self._links.attached_otherwise(name)

    def _attach(self, kind: str, target: str, function: bytes) -> None:
        where = target.encode()
        match kind:
            case "kprobe":
                self._module.attach_kprobe(event=where, fn_name=function)
            case "kretprobe":
                self._module.attach_kretprobe(event=where, fn_name=function)
            case "raw_tp":
                self._module.attach_raw_tracepoint(tp=where, fn_name=function)
            case _:
                self._module.attach_tracepoint(tp=where.replace(b"/", b":"), fn_name=function)

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program."""
        fd: int = self._module.funcs[f"{PREFIX}{name}".encode()].fd
        return fd

    def map_fd(self, name: str) -> int:
        """The descriptor of a loaded map."""
        return self._made[name].fd

    def map_entries(self, name: str) -> int:
        """The number of entries of a map (of a ring: bytes)."""
        return self._made[name].entries

    def close(self) -> None:
        """Detach every probe and give everything back. Safe to call twice."""
        if self._module is not None:
            self._module.cleanup()
            self._module = None
        for one in self._made.values():
            os.close(one.fd)
        self._made.clear()
        super().close()


def _variables(section: np.dtype[np.generic], fd: int) -> Iterator[str]:
    """A macro for each variable of a data section."""
    for name, (kind, offset, *_) in (section.fields or {}).items():
        element = kind.base
        words = {"S": "char", "i": f"__s{element.itemsize * 8}", "u": f"__u{element.itemsize * 8}"}
        place = f"VARIABLE({words[element.kind]}, {fd}, {offset})"
        # An array is its first element's address.
        yield f"#define {name} {f'(&{place})' if kind.shape or element.kind == 'S' else place}"


@contextmanager
def _diverted_stderr() -> Iterator[IO[bytes]]:
    """Catch what bcc's C++ side writes to standard error; every program shows it otherwise."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with TemporaryFile() as said:
            os.dup2(said.fileno(), 2)
            try:
                yield said
            finally:
                os.dup2(kept, 2)
    finally:
        os.close(kept)


def _lines(said: IO[bytes]) -> list[str]:
    said.seek(0)
    return [line.strip() for line in said.read().decode(errors="replace").splitlines() if line]


def _first(said: IO[bytes], mark: str) -> str:
    """The first line with a mark, from the mark on."""
    return next((line.partition(mark)[2] for line in _lines(said) if mark in line), "")


def _last(said: IO[bytes]) -> str:
    """The verifier's last word stands in front of its statistics."""
    lines = [line for line in _lines(said) if not line.startswith("processed ")]
    return lines[-1] if lines else ""


def _refused(what: str) -> Unsupported:
    answer = os.strerror(ctypes.get_errno())
    return Unsupported(f"the kernel refused {what}: {answer}", answer=answer)
