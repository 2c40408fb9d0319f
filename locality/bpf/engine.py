"""Engines: who makes a probe fit the running kernel, libbpf or bcc.

core   the object that the package ships, relocated by libbpf (CO-RE) with the kernel's own
       description of its types (BTF). Starts in milliseconds, needs no compiler.
bcc    the same sources, compiled when they are used, against the kernel's headers. For kernels
       without BTF. Starts in seconds and needs the distribution's bcc and headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from locality.bpf import btf
from locality.bpf.object import Object
from locality.errors import LocalityError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAMES = ("auto", "core", "bcc")


class Kernel(Protocol):
    """What an engine knows of the running kernel: `btf.Btf`, or `headers.Headers`."""

    def has_member(self, struct: str, member: str) -> bool:
        """Whether a struct has a member, also inside anonymous structs and unions."""

    def has_function(self, name: str) -> bool:
        """Whether the kernel has this function, so that a probe could name it."""

    def tracepoint_arguments(self, name: str) -> int | None:
        """How many arguments a tracepoint hands to a raw probe, or None without it."""


class Engine(NamedTuple):
    """One engine, ready to open probes.

    Attributes:
        name: core or bcc.
        why: Why it is this one.
        kernel: What it knows of the kernel.
        open: Opens a probe by its name, with its constants; see `Object.open`.
        note: What its numbers do not show, whatever the rung; empty if nothing.
    """

    name: str
    why: str
    kernel: Kernel
    open: Callable[[str, Mapping[str, Any]], Object]
    note: str = ""


def core(why: str = "asked for") -> Engine:
    """The engine that needs nothing but the kernel's BTF."""
    return Engine("core", why, btf.kernel(), Object.open)


def bcc(why: str = "asked for") -> Engine:
    """The engine for kernels without BTF.

    Raises:
        Unsupported: bcc or the kernel's headers are missing; says which package brings them.
    """
    from locality.bpf.bcc_object import BccObject, require_bcc  # noqa: PLC0415 - if it is chosen
    from locality.bpf.headers import Headers  # noqa: PLC0415

    require_bcc()
    # bcc attaches by perf events; only a link tells of them.
    note = "missed kprobe hits are not counted as lost"
    return Engine("bcc", why, Headers.installed(), BccObject.open, note)


def choose(name: str = "auto") -> Engine:
    """The engine that was asked for; auto takes core wherever the kernel has BTF.

    Raises:
        Unsupported: It cannot run here.
    """
    if name not in NAMES:
        raise LocalityError(f"there is no engine {name!r}: use {', '.join(NAMES)}", exit_code=2)
    if name == "core":
        btf.require_kernel_types()
        return core()
    if name == "bcc":
        return bcc()
    try:
        btf.require_kernel_types()
    except Unsupported as refusal:
        try:
            return bcc("this kernel has no BTF")
        except Unsupported as missing:
            raise Unsupported(f"{refusal}; instead of it, {missing}") from None
    return core("this kernel has BTF")
