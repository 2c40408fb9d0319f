"""What sources of measurements share: their probes are detached when the block ends."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.bpf.ladder import Attachment
    from locality.bpf.object import Object


class Attaching:
    """Something that attaches programs when it is made: a context manager; leaving it detaches.

    A made one keeps its programs attached until `close`. Where it cannot be made, for an error at
    any place after the first program was attached, nothing stays attached.
    """

    _attached: ExitStack

    @contextmanager
    def attaching(self) -> Iterator[ExitStack]:
        """Everything that attaches, or follows that, is done in this block.

        Returns:
            Takes what gives back what was attached: called by `close`, the last first, and at once
            if the block fails.
        """
        with ExitStack() as stack:
            yield stack
            self._attached = stack.pop_all()

    def close(self) -> None:
        """Detach the programs, and give everything back. Safe to call twice."""
        self._attached.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Probing(Attaching):
    """A source of measurements, whose probes are attached.

    Attributes:
        attachment: The probe that stands, and what was tried before it.
    """

    attachment: Attachment

    def hold(self, stack: ExitStack, attachment: Attachment) -> Object:
        """Make these the source's probes.

        Args:
            stack: Of `attaching`; closes them.
            attachment: The probes, attached.

        Returns:
            Their object.
        """
        self.attachment = attachment
        stack.callback(attachment.obj.close)
        return attachment.obj
