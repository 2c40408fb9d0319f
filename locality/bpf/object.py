"""One compiled probe object: open, configure, choose programs, load, attach, close.

An `Object` is a context manager; leaving it detaches every probe and frees every
map. The order is that of libbpf: constants, map sizes and the choice of programs
come before `load`, maps and `.bss` can be read after it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from locality.bpf import handles, libbpf, run, trial
from locality.bpf.abi import ProgramInfo, info_of
from locality.bpf.btf import Btf
from locality.bpf.compiled import object_file
from locality.bpf.libbpf import lib
from locality.bpf.links import Links
from locality.bpf.refusal import answer, failure
from locality.errors import LocalityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


#: By which libbpf attaches kprobes (CONFIG_KPROBE_EVENTS; Linux 4.17).
KPROBE_EVENTS = Path("/sys/bus/event_source/devices/kprobe")
_READ_BYTES = 1 << 16


class Object:
    """A probe object of `locality/probes`, compiled as ``NAME.MACHINE.bpf.o``."""

    def __init__(self, name: str, handle: int) -> None:
        self.name = name
        self._handle = handle
        self._programs: dict[str, int] = {}
        self._constants = b""
        self._links = Links()
        self._mmaps: list[mmap.mmap] = []
        self.btf = Btf(lib.bpf_object__btf(handle))

    @classmethod
    def open(cls, name: str, rodata: Mapping[str, Any] | None = None) -> Self:
        """Open an object and set its constants.

        Args:
            name: The probe's name, such as ``accept_cpu``.
            rodata: Values for its `const volatile` variables: numbers, bytes, sequences.

        Raises:
            LocalityError: The object was not built, or has no such constant.
        """
        path = object_file(name)
        libbpf.log.clear()
        handle = lib.bpf_object__open_file(str(path).encode(), None)
        if not handle:
            with libbpf.listening():
                lib.bpf_object__open_file(str(path).encode(), None)
            raise LocalityError(f"the probe object {path.name} cannot be read: {answer()}")
        obj = cls(name, handle)
        try:
            obj._set_rodata(rodata or {})
        except BaseException:
            obj.close()
            raise
        return obj

    def _set_rodata(self, values: Mapping[str, Any]) -> None:
        if not values:
            return
        memory = self._initial_value(".rodata")
        layout = self.btf.section(".rodata", len(memory))
        constants = np.ndarray((), dtype=layout, buffer=memoryview(memory))
        for name, value in values.items():
            if name not in (constants.dtype.names or ()):
                raise LocalityError(f"the probe {self.name} has no constant {name}")
            field = constants[name]
            if field.ndim:
                field[: len(value)] = value
            else:
                constants[name] = value
        self._constants = bytes(memory)

    def _initial_value(self, section: str) -> ctypes.Array[ctypes.c_char]:
        """The memory of a data section as it is before `load`, to read and write."""
        return handles.initial_value(self._map(section))

    @property
    def _open_handle(self) -> int:
        """The handle; libbpf itself would follow a null pointer."""
        if not self._handle:
            raise LocalityError(f"the probe {self.name} is closed")
        return self._handle

    @property
    def programs(self) -> dict[str, int]:
        """libbpf's handles of the object's programs, by C function name."""
        if self._open_handle and not self._programs:
            for handle in handles.programs(self._open_handle):
                self._programs[lib.bpf_program__name(handle).decode()] = handle
        return self._programs

    def select(self, names: Collection[str]) -> None:
        """Load and attach just these programs; the kernel never sees the others.

        Raises:
            Unsupported: They are kprobes or fentry programs, and the kernel allows none.
        """
        programs = self.programs
        if unknown := set(names) - set(programs):
            raise LocalityError(f"the probe {self.name} has no program {', '.join(unknown)}")
        self._require([*self.sections(names).values()])
        for name, handle in programs.items():
            lib.bpf_program__set_autoload(handle, name in names)

    def _require(self, sections: Sequence[str]) -> None:
        """Raise `Unsupported` if programs of these sections cannot be had here, as far as is known.

        Loading them takes longer, and where it would succeed attaching may fail.
        """
        if not KPROBE_EVENTS.exists() and any("kprobe/" in section for section in sections):
            raise Unsupported(
                f"this kernel has no kprobe events: {KPROBE_EVENTS} is missing",
                answer="no kprobe events",
            )
        entries = (section for section in sections if section.startswith("fentry/"))
        if entry := next(entries, None):
            trial.fentry(entry.removeprefix("fentry/"))

    def resize(self, map_name: str, max_entries: int) -> None:
        """Set the number of entries (of a ring: bytes) of a map before `load`."""
        if lib.bpf_map__set_max_entries(self._map(map_name), max_entries):
            raise failure(f"cannot give the map {map_name} {max_entries} entries")

    def share(self, map_name: str, other: Object) -> None:
        """Take another object's map of this name in place of an own one, before `load`.

        Args:
            map_name: Both have it, with the same definition.
            other: Loaded.
        """
        if lib.bpf_map__reuse_fd(self._map(map_name), other.map_fd(map_name)):
            raise failure(f"cannot share the map {map_name}")

    def load(self) -> None:
        """Hand maps and programs to the kernel.

        Raises:
            Unsupported: The kernel refused; the message has its reason.
        """
        libbpf.log.clear()
        if lib.bpf_object__load(self._open_handle):
            self._load_again()
            raise failure(f"the kernel refused the probe {self.name}")

    def _load_again(self) -> None:
        """Load the same once more, to hear what libbpf and the verifier say; gives it back."""
        with libbpf.listening():
            handle = lib.bpf_object__open_file(str(object_file(self.name)).encode(), None)
            if not handle:
                return
            maps = (handles.maps(obj) for obj in (self._handle, handle))
            for ours, theirs in zip(*maps, strict=True):
                lib.bpf_map__set_max_entries(theirs, lib.bpf_map__max_entries(ours))
                # Ours has lost its constants by now (libbpf 1.5).
                if lib.bpf_map__name(ours).endswith(b".rodata"):
                    memory = handles.initial_value(theirs)
                    ctypes.memmove(memory, self._constants, len(self._constants))
            programs = (handles.programs(obj) for obj in (self._handle, handle))
            for ours, theirs in zip(*programs, strict=True):
                lib.bpf_program__set_autoload(theirs, lib.bpf_program__autoload(ours))
            lib.bpf_object__load(handle)
            code = ctypes.get_errno()
            lib.bpf_object__close(handle)
            ctypes.set_errno(code)

    def attach(self, names: Collection[str]) -> None:
        """Attach loaded programs, each to what its section names.

        Raises:
            Unsupported: The kernel refused one; those attached before stay until `close`.
        """
        for name, section in self.sections(names).items():
            self._links.attach(name, self.programs[name], section)

    @property
    def attached(self) -> tuple[str, ...]:
        """The programs that are attached now, in order."""
        return self._links.names

    def detach(self, names: Iterable[str] | None = None) -> None:
        """Detach programs, which stay loaded and can be attached again.

        Args:
            names: Which; all that are attached by default.
        """
        self._links.detach(self._links.names if names is None else names)

    def test_run(self, program: str) -> int:
        """Run a raw tracepoint or syscall program once, here and now, attached to nothing.

        Returns:
            What the program returned.

        Raises:
            Unsupported: The kernel refused (BPF_PROG_TEST_RUN takes raw tracepoint programs since
                5.10, and syscall ones since 5.14).
        """
        options = run.Options(sz=ctypes.sizeof(run.Options))
        fd = lib.bpf_program__fd(self.programs[program])
        if lib.bpf_prog_test_run_opts(fd, ctypes.byref(options)) < 0:
            raise failure(f"the kernel refused to run {program}")
        return int(options.retval)

    def iterate(self, program: str) -> bytes:
        """Run an attached iterator over all that it iterates over, once.

        Returns:
            What the program wrote.

        Raises:
            Unsupported: The kernel refused.
            OSError: It ended the iteration.
        """
        fd = lib.bpf_iter_create(lib.bpf_link__fd(self._links.of(program)))
        if fd < 0:
            raise failure(f"the kernel refused to start the iterator {program}")
        written: list[bytes] = []
        try:
            while True:
                with suppress(BlockingIOError):
                    # After a million objects of which the program wrote nothing, the kernel wants
                    # to be asked again (EAGAIN; MAX_ITER_OBJECTS of kernel/bpf/bpf_iter.c).
                    if not (part := os.read(fd, _READ_BYTES)):
                        return b"".join(written)
                    written.append(part)
        finally:
            os.close(fd)

    def info(self, program: str) -> ProgramInfo:
        """What the kernel counts of a loaded program."""
        info = info_of(self.program_fd(program), ProgramInfo)
        if info is None:
            raise failure(f"the kernel tells nothing of the program {program}")
        return info

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program."""
        fd: int = lib.bpf_program__fd(self.programs[name])
        return fd

    def sections(self, names: Iterable[str]) -> dict[str, str]:
        """What each program is to be attached to, as its section says: ``kprobe/fd_install``."""
        programs = self.programs
        return {name: lib.bpf_program__section_name(programs[name]).decode() for name in names}

    def run_times(self) -> tuple[float, int]:
        """Seconds in its programs, and their runs, while that was measured (`bpf.run_times`)."""
        infos = [self.info(program) for program in self._links.ever]
        seconds = sum(info.run_time_ns for info in infos) / 1e9
        return seconds, sum(info.run_cnt for info in infos)

    def skipped_runs(self) -> int:
        """How many runs of the programs the kernel skipped while they were attached, so far.

        A kprobe that is hit while this CPU is busy with another never gets to its program;
        the kernel tells of those since 6.7.
        """
        by_programs: int = sum(self.info(program).recursion_misses for program in self._links.ever)
        return by_programs + self._links.missed()

    def map_fd(self, name: str) -> int:
        """The descriptor of a loaded map."""
        fd: int = lib.bpf_map__fd(self._map(name))
        return fd

    def wait_for_programs(self, outer: str, inner: str) -> None:
        """Wait until every run of a program that goes on now has ended.

        The kernel promises that of an update of a map of maps, so that whoever makes one knows
        that the old inner map is not in use any more (`maybe_wait_bpf_programs`, 4.20).

        Args:
            outer: A map of maps with room for one.
            inner: A map that fits into it.

        Raises:
            LocalityError: The kernel refused.
        """
        key, value = ctypes.c_uint32(0), ctypes.c_uint32(self.map_fd(inner))
        if lib.bpf_map_update_elem(self.map_fd(outer), ctypes.byref(key), ctypes.byref(value), 0):
            raise failure(f"the kernel refused to update the map {outer}")

    def map_entries(self, name: str) -> int:
        """The number of entries of a map (of a ring: bytes)."""
        entries: int = lib.bpf_map__max_entries(self._map(name))
        return entries

    @cached_property
    def bss(self) -> np.ndarray[tuple[()], np.dtype[np.void]]:
        """The object's global variables as one live structured scalar.

        Reading a field reads the kernel's memory: no system call.
        """
        size = len(self._initial_value(".bss"))
        memory = self.mmap(".bss", size)
        return np.ndarray((), dtype=self.btf.section(".bss", size), buffer=memory)

    def mmap(self, map_name: str, size: int) -> mmap.mmap:
        """Map an array map (BPF_F_MMAPABLE) into this process, to read and write."""
        memory = mmap.mmap(self.map_fd(map_name), size, mmap.MAP_SHARED)
        self._mmaps.append(memory)
        return memory

    def _map(self, name: str) -> int:
        handle: int | None
        if name.startswith("."):
            # A data section's map carries the object's name in front: "accept_c.rodata".
            found = handles.maps(self._open_handle)
            handle = next((m for m in found if lib.bpf_map__name(m).decode().endswith(name)), None)
        else:
            handle = lib.bpf_object__find_map_by_name(self._open_handle, name.encode())
        if not handle:
            raise LocalityError(f"the probe {self.name} has no map {name}")
        return handle

    def close(self) -> None:
        """Detach every probe and give everything back. Safe to call twice."""
        self._links.close()
        self._mmaps.clear()
        if self._handle:
            lib.bpf_object__close(self._handle)
            self._handle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
