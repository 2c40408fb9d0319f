"""Recordings of the lab: for each phase one of its accepts and one of the packets."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.accept.recording import AcceptRecorder
from locality.errors import LocalityError
from locality.recording.format import Meta
from locality.skb.recording import SkbRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from locality.lab.measure import Meter


class Recordings:
    """PHASE.arrows and PHASE.skb.arrows in a directory, which is made if it is not there.

    Args:
        directory: Where.
        force: Replace what is there from a run before.

    Raises:
        LocalityError: There is something, or the directory cannot be made.
    """

    def __init__(self, directory: Path, *, force: bool = False) -> None:
        self._directory = directory
        self._force = force
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalityError(f"cannot make {directory}: {error.strerror}") from None
        if not force and any(directory.glob("*.arrows")):
            raise LocalityError(
                f"{directory} has recordings already: --force replaces them", exit_code=2
            )

    @contextmanager
    def of(self, phase: str, meter: Meter) -> Iterator[tuple[AcceptRecorder, SkbRecorder]]:
        """The sinks that record a phase, which begins now."""
        accepts = Meta.here(
            "accept",
            meter.accepts.attachment,
            meter.machine,
            wanted=f"{meter.accepts.wanted}, the lab's server",
            label=phase,
            clock_offset=meter.accepts.clock_offset,
        )
        packets = Meta.here(
            "skb",
            meter.packets.attachment,
            meter.machine,
            wanted="the lab's server" if meter.of_server else "everything",
            label=phase,
            interval=meter.interval,
        )
        there, force = self._directory, self._force
        with (
            AcceptRecorder(there / f"{phase}.arrows", accepts, force=force) as accept_recorder,
            SkbRecorder(there / f"{phase}.skb.arrows", packets, force=force) as skb_recorder,
        ):
            yield accept_recorder, skb_recorder
