"""What an object's programs are attached to, and what the kernel skipped there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from locality.bpf import libbpf, tracefs
from locality.bpf.abi import LINK_TYPE_PERF_EVENT, PERF_EVENT_KPROBES, LinkInfo, info_of
from locality.bpf.libbpf import lib
from locality.bpf.refusal import failure

if TYPE_CHECKING:
    from collections.abc import Iterable


class Links:
    """The attached programs of an object, by name and in the order in which they were attached."""

    def __init__(self) -> None:
        self._links: dict[str, int] = {}
        self._ever: dict[str, None] = {}
        self._has_kprobes = False
        self._missed_before = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The programs that are attached now."""
        return tuple(self._links)

    @property
    def ever(self) -> tuple[str, ...]:
        """The programs that are attached now, or were and are only loaded."""
        return tuple(self._ever)

    def attach(self, name: str, program: int, section: str) -> None:
        """Attach a loaded program to what its section names.

        Args:
            name: Of the program.
            program: libbpf's handle.
            section: Such as ``kprobe/fd_install``.

        Raises:
            Unsupported: The kernel refused.
        """
        libbpf.log.clear()
        link = _attach(program, section)
        if not link:
            with libbpf.listening():
                link = _attach(program, section)
        if not link:
            raise failure(f"the kernel refused to attach {section}")
        self._links[name] = link
        self._ever[name] = None
        self._has_kprobes |= section.startswith(("kprobe/", "kretprobe/"))

    def attached_otherwise(self, name: str) -> None:
        """Take note of a program that something else than libbpf attached."""
        self._ever[name] = None

    def detach(self, names: Iterable[str]) -> None:
        """Detach programs, which stay loaded."""
        for name in names:
            link = self._links.pop(name)
            if self._has_kprobes:  # the link takes its count with it
                self._missed_before += _missed(link)
            lib.bpf_link__destroy(link)

    def of(self, name: str) -> int:
        """libbpf's handle of the link of an attached program."""
        return self._links[name]

    def missed(self) -> int:
        """How many hits of kprobes never got to their programs so far, detached ones with them.

        The kernel tells since 6.7.
        """
        if not self._has_kprobes:
            return 0
        return self._missed_before + sum(map(_missed, self._links.values()))

    def close(self) -> None:
        """Detach all of them, the last one first."""
        self.detach([*reversed(self._links)])
        self._ever.clear()


def _attach(program: int, section: str) -> int | None:
    """A link by which a program is attached to what its section names; None if refused."""
    link: int | None
    if section.startswith("tp/"):
        with tracefs.perf_event(section.removeprefix("tp/")) as event:
            descriptor = os.dup(event)
            link = lib.bpf_program__attach_perf_event(program, descriptor)
            if not link:  # else the link has taken it over
                os.close(descriptor)
    else:
        link = lib.bpf_program__attach(program)
    return link


def _missed(link: int) -> int:
    """How many hits of a kprobe's link never got to its program; 0 for others, or if not told."""
    info = info_of(lib.bpf_link__fd(link), LinkInfo)
    if info is None:
        return 0  # before 5.15 a kprobe has no link
    if info.type != LINK_TYPE_PERF_EVENT or info.perf_event.type not in PERF_EVENT_KPROBES:
        return 0
    return int(info.perf_event.missed)
