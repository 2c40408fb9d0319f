"""What sources of measurements share: their probes are detached when the block ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from locality.bpf.ladder import Attachment


class Probing:
    """Something whose probes are attached: a context manager; leaving it detaches them.

    Attributes:
        attachment: The probe that stands, and what was tried before it.
    """

    attachment: Attachment

    def close(self) -> None:
        """Detach the probes."""
        self.attachment.obj.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
