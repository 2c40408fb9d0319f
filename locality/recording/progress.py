"""A bar on standard error while a recording is read: on a terminal, if it takes over a second."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

#: Reading that takes no longer than this shows no bar.
PATIENCE_S = 1.0


@contextmanager
def progress_bar(what: str, *, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar for as long as the block takes.

    Args:
        what: What is done; text from outside is made printable.
        hidden: Show none. Two outputs on one terminal would mix.

    Yields:
        Takes how many bytes of how many are read.
    """
    begun = time.monotonic()
    bar: Progress | None = None

    def tell(done: int, size: int) -> None:
        nonlocal bar
        if hidden or time.monotonic() - begun <= PATIENCE_S:
            return
        if bar is None:
            bar = _bar()
            bar.add_task(printable(what), completed=done, total=size)
            if not bar.disable:
                bar.start()
        bar.update(bar.task_ids[0], completed=done, total=size)

    try:
        yield tell
    finally:
        # Stopping what never began would print an empty line.
        if bar is not None and bar.live.is_started:
            bar.stop()


def _bar() -> Progress:
    """A bar that is disabled where standard error is no terminal."""
    # Not at once: who does not wait does not pay for it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
