"""The loop between sources and sinks, with small real sources of our own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from locality.errors import LocalityError
from locality.stream import ending_as, interruptible, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER = 3600.0
PATIENCE = 60  # seconds until a child that should have ended counts as hung


class Numbers(list[int]):
    """A batch."""

    def first(self, count: int) -> Self:
        return type(self)(self[:count])


@dataclass
class Counting:
    """A source that counts on, `step` numbers at each reading."""

    step: int = 10
    period: float = 0.001
    fd: int | None = None
    readings: int = 0

    def read(self) -> Numbers:
        start = self.readings * self.step
        self.readings += 1
        return Numbers(range(start, start + self.step))


@dataclass
class Keeping:
    """A sink that keeps what it is given."""

    batches: list[Numbers] = field(default_factory=list)

    def write(self, batch: Numbers) -> None:
        self.batches.append(batch)

    @property
    def numbers(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


@pytest.fixture
def always_readable() -> Iterator[int]:
    """A descriptor that has something to read and from which nobody takes it."""
    fd = os.eventfd(1)
    yield fd
    os.close(fd)


# Bug: the last batch is delivered whole, or not at all, when the count is reached within it.
@pytest.mark.parametrize("count", [1, 9, 10, 11, 23, 1009])
def test_count_cuts_exactly(count: int) -> None:
    sink = Keeping()
    stream(Counting(), [sink], count=count)
    assert sink.numbers == list(range(count))


# Bug: sinks see different data, as when each reads for itself or one is given the uncut batch.
def test_every_sink_gets_the_same() -> None:
    one, other = Keeping(), Keeping()
    stream(Counting(), [one, other], count=23)
    assert one.batches == other.batches
    assert len(one.batches) == 3


# Bug: a reading without events counts as one, and --count 3 ends with fewer.
def test_empty_batches_do_not_count() -> None:
    class Seldom(Counting):
        def read(self) -> Numbers:
            batch = super().read()
            return batch if self.readings % 3 == 0 else Numbers()

    sink = Keeping()
    stream(Seldom(step=1), [sink], count=2)
    assert sink.numbers == [2, 5]


# Bug: what has come since the last reading is lost when the time is over.
def test_the_end_of_the_duration_delivers_the_rest() -> None:
    sink = Keeping()
    stream(Counting(period=NEVER), [sink], duration=0.02)
    assert sink.numbers == list(range(10))


# Bugs: a source that has much to tell waits for its period; one wake-up is taken for a permanent
# one and the loop spins (level-triggered epoll would read thousands of times).
def test_a_readable_source_is_read_early_and_once(always_readable: int) -> None:
    source = Counting(period=NEVER, fd=always_readable)
    stream(source, [Keeping()], duration=0.2)
    assert source.readings == 2  # for the wake-up, and at the end


# Bug: epoll takes no more than 2^31 ms, and a long interval ends in a traceback.
def test_a_period_of_years(always_readable: int) -> None:
    sink = Keeping()
    stream(Counting(period=1e9, fd=always_readable), [sink], count=3)
    assert sink.numbers == [0, 1, 2]


# Bug: a handler or wake-up descriptor of ours stays behind and the caller is deaf to Ctrl-C.
def test_signal_handling_is_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    stream(Counting(), [Keeping()], count=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


# Bug: an error of a sink leaves the handlers behind, or is swallowed.
def test_an_error_passes_through() -> None:
    class Failing(Keeping):
        def write(self, batch: Numbers) -> None:
            raise LocalityError(f"cannot take {len(batch)}")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LocalityError, match="cannot take 10"):
        stream(Counting(), [Failing()])
    assert signal.getsignal(signal.SIGTERM) is before


# --- in a process of its own ------------------------------------------------------------

# A source with something to read at once and then again only at the end.
CHILD = """
import os, sys, time
from pathlib import Path
from locality.stream import stream

class Batch(list):
    def first(self, count):
        return self

class Source:
    fd, period = {fd}, {period}
    readings = 0
    def read(self):
        self.readings += 1
        return Batch([self.readings])

class Sink:
    def write(self, batch):
        {write}

try:
    stream(Source(), [Sink()], duration={duration}, ready_file={ready_file})
except BrokenPipeError:
    sys.exit(33)
print("over", flush=True)
"""
SAY = 'print(f"reading {batch[0]}", flush=True)'


def child(
    *, fd: str, period: float, write: str, duration: float | None = None, ready_file: str = "None"
) -> list[str]:
    script = CHILD.format(
        fd=fd, period=period, write=write, duration=duration, ready_file=ready_file
    )
    return [sys.executable, "-c", script]


# Bugs: the signal ends the process at once (what the source still holds and the summary are
# lost), or not at all before the period is over.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_last_reading_is_delivered(number: signal.Signals) -> None:
    command = child(fd="os.eventfd(1)", period=NEVER, write=SAY)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "reading 1\n"
            process.send_signal(number)
            rest, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert rest == "reading 2\nover\n"
    assert process.returncode == 0


# Bug: `locality accept --comm rare | head` waits for an event before it notices that nobody
# listens any more. A socket hangs up in another way than a pipe.
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_goes_ends_it_without_any_event(kind: str) -> None:
    if kind == "pipe":
        ours, theirs = os.pipe()
    else:
        ours, theirs = (end.detach() for end in socket.socketpair())
    command = child(fd="None", period=NEVER, write="pass")
    with subprocess.Popen(command, stdout=theirs) as process:
        os.close(theirs)
        os.close(ours)
        try:
            assert process.wait(PATIENCE) == 33
        finally:
            process.kill()


# Bug: a period that is shorter than a reading takes is never caught up with; the loop hangs,
# deaf to signals.
def test_a_period_too_short_to_keep() -> None:
    command = child(fd="None", period=1e-9, write="time.sleep(0.001)", duration=0.1)
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    assert done.stdout == b"over\n"


# --- the ready file ---------------------------------------------------------------------


# Bugs: whoever waits for the file cannot tell which process wrote it; a temporary one is left.
def test_the_ready_file_holds_our_pid(tmp_path: Path) -> None:
    stream(Counting(), [Keeping()], count=1, ready_file=tmp_path / "ready")
    assert int((tmp_path / "ready").read_text()) == os.getpid()
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


# Bug: a traceback, or a message that does not name the file.
def test_an_unwritable_ready_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "ready"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LocalityError) as caught:
        stream(Counting(), [Keeping()], ready_file=path)
    assert str(path) in str(caught.value)
    assert "No such file or directory" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert signal.getsignal(signal.SIGTERM) is before


# Bug: whoever waits for the ready file may send the signal at once, while our handlers are not
# there yet: no summary, and the exit code of a killed process. A full FIFO holds that moment.
def test_a_signal_as_soon_as_the_ready_file_is_there(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(fifo, bytes(4096)):
            pass
    command = child(fd="None", period=NEVER, write=SAY, ready_file=f"Path({str(path)!r})")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while str(path) not in open_files(process.pid):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            with suppress(BlockingIOError):
                while os.read(fifo, 65536):
                    pass
            rest, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            os.close(fifo)
    assert (process.returncode, rest) == (0, "reading 1\nover\n")


def open_files(pid: int) -> list[str]:
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            links.append(str(fd.readlink()))
    return links


# Bugs: a terminal that is closed ends the process at once, or its shell does, which sends the
# signal once more; what nohup ignores ends the block.
def test_a_closed_terminal_ends_the_block_in_order() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with interruptible() as wait, ending_as(signal.SIGTERM, signal.SIGHUP):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert wait(NEVER).stop
    assert signal.getsignal(signal.SIGHUP) == before
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with interruptible() as wait, ending_as(signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not wait(0).stop
    finally:
        signal.signal(signal.SIGHUP, before)


# Bug: SIGTERM ends the process where Ctrl-C would have what was changed put back; or nothing ends
# it, in the background of a shell, where Ctrl-C is ignored.
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_is_an_interrupt(handler: signal.Handlers) -> None:
    def be_ended() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with ending_as(signal.SIGINT, signal.SIGTERM), pytest.raises(KeyboardInterrupt):
            be_ended()
    finally:
        signal.signal(signal.SIGINT, before)
