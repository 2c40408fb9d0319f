"""The loop: wait, take a batch from the source, hand it to every sink.

A source knows no sink and a sink no source; they meet here. The loop sleeps in epoll
until the source has something, its period is over, a signal comes or the reader of our
output has gone.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import sys
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, Self, TextIO, TypeVar

from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from locality.machine.topology import Topology


class Batch(Protocol):
    """Something that can be counted, and cut when enough has been seen."""

    def __len__(self) -> int: ...

    def first(self, count: int) -> Self:
        """The same with no more than `count` of its events."""
        ...


#: epoll takes no more than 2^31 ms.
LONGEST_SLEEP = 3600.0
#: How long to wait before trying again to write to a full FIFO.
FULL_FIFO_S = 0.05
_GONE = select.EPOLLERR | select.EPOLLHUP

B_co = TypeVar("B_co", bound=Batch, covariant=True)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)
B = TypeVar("B", bound=Batch)


class Source(Protocol[B_co]):
    """Where batches come from."""

    @property
    def fd(self) -> int | None:
        """A descriptor that becomes readable when it is worth reading early, if any."""
        ...

    @property
    def period(self) -> float:
        """Seconds between readings otherwise."""
        ...

    def read(self) -> B_co:
        """What there is; never waits."""
        ...


class Sink(Protocol[B_contra]):
    """Where batches go."""

    def write(self, batch: B_contra) -> None:
        """Take one batch."""
        ...


class Output(ABC, Generic[B_contra]):
    """A sink that prints: one format of one kind of measurement.

    Args:
        out: Where to.
        machine: The CPUs that were measured.
    """

    def __init__(self, out: TextIO, machine: Topology) -> None:
        self._out = out
        self._machine = machine

    @abstractmethod
    def write(self, batch: B_contra) -> None:
        """Print one batch, and flush."""


@contextmanager
def _stop_signals() -> Iterator[int]:
    """A pipe that becomes readable when SIGINT or SIGTERM asks us to end."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    handlers = {
        number: signal.signal(number, lambda _number, _frame: None)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield reader
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


@contextmanager
def ending_as(ending: signal.Signals, *numbers: signal.Signals) -> Iterator[None]:
    """Let signals that would end the process at once do in the block what another one does.

    So what the block has changed is put back. A signal that is ignored (nohup) stays ignored.

    Args:
        ending: Ends the block in order: SIGTERM within `interruptible`, else SIGINT.
        numbers: Such as SIGHUP, which a terminal sends that is closed, and its shell once more.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        if signal.getsignal(ending) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(ending)

    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


class Awakened(NamedTuple):
    """Why a wait ended; neither if its time was over."""

    stop: bool
    """SIGINT or SIGTERM asks us to end."""
    early: bool
    """The source has something."""


@contextmanager
def interruptible(fd: int | None = None) -> Iterator[Callable[[float], Awakened]]:
    """Something to wait with for so many seconds, or until there is a reason to wake.

    Signals that ask to end do so only here: what is being written is finished first.

    Args:
        fd: Becomes readable when it is worth waking early.

    Raises:
        BrokenPipeError: While waiting: nobody reads standard output any more.
    """
    with _stop_signals() as stop, select.epoll() as poll:
        poll.register(stop, select.EPOLLIN)
        if fd is not None:
            # Edge-triggered: the kernel side wakes us when it is worth it, and what lies
            # in the ring without a wake-up must not make epoll return at once.
            poll.register(fd, select.EPOLLIN | select.EPOLLET)
        with suppress(OSError, ValueError):  # a regular file cannot be polled, and need not be
            poll.register(sys.stdout.fileno(), 0)

        def wait(seconds: float) -> Awakened:
            ready = dict(poll.poll(min(max(0.0, seconds), LONGEST_SLEEP)))
            why = Awakened(stop in ready, fd is not None and fd in ready)
            if not any(why) and any(events & _GONE for events in ready.values()):
                raise BrokenPipeError
            return why

        yield wait


def announce(ready_file: Path, wait: Callable[[float], Awakened]) -> None:
    """Tell whoever waits that every probe is attached; the file is whole once it is there.

    A FIFO that is full is waited for with `wait`, until a signal asks to end.

    Raises:
        LocalityError: It cannot be written, or it is a FIFO that nobody reads.
    """
    text = f"{os.getpid()}\n".encode()
    try:
        if _waits_for_a_reader(ready_file):
            _write_to_a_reader(ready_file, text, wait)
            return
        unfinished = ready_file.with_name(f"{ready_file.name}.{os.getpid()}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        # This takes the place of a link that lies there; it is not written through.
        unfinished.replace(ready_file)
    except OSError as error:
        why = "no process reads this FIFO" if error.errno == errno.ENXIO else error.strerror
        raise LocalityError(f"cannot write {printable(str(ready_file))}: {why}") from None


def _write_to_a_reader(path: Path, text: bytes, wait: Callable[[float], Awakened]) -> None:
    # Without blocking: a FIFO that nobody reads would hold us up for ever.
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        written = False
        while not written and not wait(0).stop:
            try:
                os.write(descriptor, text)
                written = True
            except BlockingIOError:
                wait(FULL_FIFO_S)
    finally:
        os.close(descriptor)


def _waits_for_a_reader(path: Path) -> bool:
    """Whether there is a FIFO, or a device, of this name."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def stream(
    source: Source[B],
    sinks: Sequence[Sink[B]],
    *,
    duration: float | None = None,
    count: int | None = None,
    ready_file: Path | None = None,
    settled: Callable[[], None] | None = None,
) -> None:
    """Run until the duration is over, enough was seen, or SIGINT or SIGTERM comes.

    What the source holds at the end is still delivered.

    Args:
        source: Its probes are attached.
        sinks: Each gets every batch, in this order.
        duration: Seconds.
        count: Events.
        ready_file: Written once a signal would end the run in order.
        settled: Called when the ready file is written: from then on the run only reads, and hands
            out what it has read.

    Raises:
        BrokenPipeError: Nobody reads standard output any more.
        LocalityError: The ready file cannot be written.
    """
    end = None if duration is None else time.monotonic() + duration
    due = time.monotonic() + source.period
    left = count
    with interruptible(source.fd) as wait:
        if ready_file is not None:
            announce(ready_file, wait)
        if settled is not None:
            settled()
        ended = False
        while not ended:
            wake = due if end is None else min(due, end)
            stop, early = wait(wake - time.monotonic())
            now = time.monotonic()
            ended = stop or (end is not None and now >= end)
            if not (ended or early or now >= due):
                continue
            if now >= due:
                due += source.period * ((now - due) // source.period + 1)
            batch = source.read()
            if left is not None:
                batch = batch.first(left)
                left -= len(batch)
                ended = ended or left <= 0
            for sink in sinks:
                sink.write(batch)
