"""Attach the probes of accepts, those of io_uring among them, on the best rung."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locality.accept import io_uring
from locality.bpf.ladder import attach_best
from locality.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from locality.bpf.engine import Engine
    from locality.bpf.ladder import Attachment, Rung
    from locality.bpf.object import Object
    from locality.filter import Wanted


def attach_accepts(
    rungs: Sequence[Rung], open_object: Callable[[], Object], only: str | None, engine: Engine
) -> Attachment:
    """Attach an object that includes probes/accept_probes.h; see `attach_best`.

    If the programs for io_uring are refused, the rung's note says what is not seen.
    """
    try:
        beside, why_not = _io_uring_programs(engine), ""
    except Unsupported as refusal:
        beside, why_not = (), str(refusal)
    attachment = attach_best(rungs, open_object, only, engine, beside)
    if why_not := why_not or attachment.left_out:
        rung = attachment.rung.noting(f"not seen: accepts by io_uring: {why_not}")
        attachment = attachment._replace(rung=rung)
    return attachment


def _io_uring_programs(engine: Engine) -> tuple[str, ...]:
    if engine.name != "core":
        raise Unsupported("its structures are in no header that a distribution installs")
    return io_uring.programs(engine.kernel)


def constants(wanted: Wanted, ring_bytes: int) -> dict[str, Any]:
    """The constants of probes/accept_record.h.

    Args:
        wanted: Which accepts; a `locality.accept.source.Filter`.
        ring_bytes: Size of the ring.
    """
    return {
        **wanted.rodata(),
        # The kernel wakes the reader when a quarter of the ring is full, not for each record.
        "wakeup_bytes": ring_bytes // 4,
    }
