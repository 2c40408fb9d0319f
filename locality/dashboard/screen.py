"""The screen that the dashboards draw on: a few times a second, until the run is over."""

from __future__ import annotations

import io
import textwrap
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar

from rich.console import Console
from rich.live import Live
from rich.segment import Segment

from locality.dashboard.frame import BAD, DIM, STRONG, Line, fit, in_encoding, line, spread
from locality.dashboard.svg import save_svg
from locality.text import printable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.console import ConsoleOptions, RenderResult

B = TypeVar("B")

#: Seconds between two drawings, at least.
PERIOD = 0.25
#: How long a terminal that does not take our output may hold up the end of a run.
PATIENCE = 2.0
#: Lines that the note may take.
_NOTE = 2


@dataclass(frozen=True)
class Header:
    """What does not change during a run.

    Attributes:
        host: Name of the machine that was measured.
        kernel: Its kernel's release.
        rung: The probes in use.
        filter: What is recorded.
        note: What the rung cannot see, or that this is a recording; may be empty.
    """

    host: str
    kernel: str
    rung: str
    filter: str
    note: str = ""


class Dashboard(ABC, Generic[B]):
    """A sink that shows its batches on a screen.

    `write` only counts; a thread of its own draws, so that a slow terminal does not keep
    the ring from being read. It draws when there is something new or the terminal's size
    has changed, at most every `PERIOD` seconds. What the thread reads was made for it and
    does not change any more.

    Args:
        header: Shown on top.
        console: A terminal; it is given back as it was.

    Attributes:
        frames: How many were drawn.
    """

    title: ClassVar[str]

    def __init__(self, header: Header, console: Console) -> None:
        self._header = header
        self._console = console
        self._live = Live(
            self,
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._size = console.size
        self._news = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="dashboard", daemon=True)
        self._failure: OSError | None = None
        self.frames = 0

    def write(self, batch: B) -> None:
        """Take a batch.

        Raises:
            OSError: The terminal has gone.
        """
        if self._failure is not None:
            raise self._failure
        if self._take(batch):
            self._news.set()

    @abstractmethod
    def _take(self, batch: B) -> bool:
        """Count a batch; tell whether there is something new to show."""

    @abstractmethod
    def _elapsed(self) -> float:
        """Seconds since the start of what is shown."""

    @abstractmethod
    def _lost(self) -> int:
        """What the kernel side could not hand over."""

    @abstractmethod
    def _body(self, width: int, height: int) -> list[Line]:
        """What is below the header, for a screen that has so much room left."""

    def _head(self, width: int) -> list[Line]:
        header, lost = self._header, self._lost()
        seconds = int(self._elapsed())
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        lines = [
            spread(
                line(
                    (f"locality {self.title}", STRONG),
                    f"  {header.host}  {header.kernel}  rung {header.rung}",
                ),
                line((clock, STRONG)),
                width,
            ),
            spread(
                line(f"filter: {header.filter}"),
                line((f"{lost} lost", BAD if lost else DIM)),
                width,
            ),
        ]
        note = textwrap.wrap(printable(header.note), width, max_lines=_NOTE, placeholder=" …")
        return lines + [line((one, DIM)) for one in note]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One frame, of the size that the terminal has at this moment."""
        width, height = options.size
        lines = self._head(width)
        lines += self._body(width, height - len(lines))
        for one in in_encoding(fit(lines, width, height), console.encoding):
            yield from one
            yield Segment.line()

    def _keep_drawing(self) -> None:
        while not self._over.wait(PERIOD):
            size = self._console.size
            if self._news.is_set() or size != self._size:
                self._news.clear()
                self._size = size
                try:
                    self._live.refresh()
                except OSError as error:
                    self._failure = error
                    return
                self.frames += 1

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        self.frames += 1
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop drawing, and leave the terminal as it was."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        self._live.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def save_svg(self, path: Path) -> None:
        """Write the last frame as a picture that needs nothing from the network.

        Raises:
            LocalityError: The file cannot be written.
        """
        width, height = self._size
        paper = Console(
            file=io.StringIO(),
            record=True,
            width=width,
            height=height,
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
            _environ={},
        )
        paper.print(self, end="")
        save_svg(paper, path, f"locality {self.title} --live")
