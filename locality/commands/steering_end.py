"""What attach-cbpf says at its end of what it leaves behind."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.commands.lines import tell
from locality.commands.steering_request import INCOMING_CPU

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.commands.steering_request import Request


def stays(request: Request) -> str:
    """That what was changed stays, and the command that takes it away."""
    if request.means == INCOMING_CPU:
        return f"SO_INCOMING_CPU stays set; to take it away: {request.detach_command}"
    return f"the program stays attached; to detach it: {request.detach_command}"


@contextmanager
def saying_if_interrupted(line: str) -> Iterator[None]:
    """Say how things are where Ctrl-C ends the block."""
    try:
        yield
    except KeyboardInterrupt:
        tell(f"interrupted: {line}")
        raise
