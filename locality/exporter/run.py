"""One run of the exporter: attach, give up privileges, answer until a signal asks to end."""

from __future__ import annotations

import ctypes
import ipaddress
import math
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from locality.bpf.run_times import counted
from locality.errors import LocalityError
from locality.exporter.collect import Exporter, Part, open_measures
from locality.exporter.measures import Accepts, Measure, Reads
from locality.exporter.metrics import MOST_SERIES, PortLabels, ports_for
from locality.exporter.server import Security, listen, where
from locality.exporter.textfile import TextFile
from locality.exporter.windows import Windows
from locality.filter import Wanted
from locality.machine import topology
from locality.machine.capabilities import NEEDS, PROBES
from locality.machine.privileges import FILES, keep_only
from locality.stream import LONGEST_SLEEP, announce, interruptible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from prometheus_client import CollectorRegistry

M = TypeVar("M", bound=Measure)

_M_ARENA_MAX = -8  # malloc.h


@dataclass(frozen=True)
class Request:
    """What the command line asked for.

    Attributes:
        listen: Where to answer: a numeric address and a port; None for nowhere.
        textfile: Write the metrics to this file.
        interval: Seconds between two writings.
        security: Who may ask.
        measures: Names of `locality.exporter.collect.MEASURES`.
        findings: Read settings and groups each minute.
        ports: Measure only connections to these, and give them series of their own.
        netns: Measure only sockets of the network namespace of this inode.
        most_series: Give out no more.
        duty: Have the probes attached for this share of the time; always if 1.
        window: So many seconds at a time.
        rung: Use this probe type for the measurements that have it.
        program_times: Have the kernel measure how long programs run.
        duration: End after so many seconds.
        ready_file: Written once every probe is attached and the server listens.
    """

    listen: tuple[str, int] | None
    textfile: Path | None = None
    interval: float = 15.0
    security: Security = field(default_factory=Security)
    measures: tuple[str, ...] = ("accepts", "packets", "reads")
    findings: bool = True
    ports: tuple[int, ...] = ()
    netns: int | None = None
    most_series: int = MOST_SERIES
    duty: float = 1.0
    window: float = 1.0
    rung: str | None = None
    program_times: bool = False
    duration: float | None = None
    ready_file: Path | None = None


def run(request: Request, tell: Callable[[str], None]) -> None:
    """Export until the time is over, or a signal asks to end.

    Args:
        request: What to export, and where.
        tell: Takes a line for the user.

    Raises:
        LocalityError: It cannot begin: no probe is allowed, the address is in use.
    """
    machine = topology.read()
    wanted = Wanted(ports=request.ports, netns=request.netns)
    room = ports_for(request.most_series, latency="latency" in request.measures)
    if len(request.ports) > room:
        raise LocalityError(
            f"{len(request.ports)} ports have more series than --max-series {request.most_series} "
            f"has room for: give a higher number, or {room} ports at most",
            exit_code=2,
        )
    ports = PortLabels(room, request.ports)
    _use_one_arena()
    with ExitStack() as stack:
        attach = partial(open_measures, machine, request.measures, wanted, ports, tell)
        measures = _opened(partial(attach, rung=request.rung), again=request.duty < 1)
        for measure in measures:
            stack.callback(measure.close)
            tell(f"{measure.name}: {measure.attachments[0].name}")
        lock, ended = threading.Lock(), threading.Event()
        stack.callback(ended.set)
        parts: list[Part] = []
        if request.findings:
            parts += _state(measures, lock, ended, tell, request.netns)
        if request.duty < 1:
            windows = Windows(measures, lock, request.duty, request.window, tell)
            thread = windows.begin(partial(keep_only, PROBES), ended)
            stack.callback(thread.join)  # else what is attached is closed meanwhile
            stack.callback(ended.set)
            parts.insert(0, windows)
        file: TextFile | None = None
        if request.textfile is not None:
            file = TextFile(request.textfile, tell, alone=request.listen is None)
            parts.append(file)
        if request.program_times:
            stack.enter_context(counted())
        exporter = Exporter(
            measures,
            ports,
            most_series=request.most_series,
            parts=parts,
            lock=lock,
            run_times=request.program_times,
        )
        if request.listen is not None:
            _warn(request.listen, request.security, tell)
            server = listen(exporter.registry, request.listen, request.security)
            stack.callback(server.stop)
            server.start(partial(keep_only, KEPT))
            tell(f"listening on {where(server.server_address)}")
        _until_asked(request, exporter.registry, file)


def _opened(attach: Callable[[], list[Measure]], *, again: bool) -> list[Measure]:
    """Attach the probes; with `again` as the thread can that attaches them for each window.

    It has only what the documentation asks for. A kernel may want more for one probe type than for
    another: Debian's 6.12 refuses a kprobe with CAP_BPF and CAP_PERFMON alone. So another one is
    chosen here.
    """
    if not again:
        return attach()
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - if it is asked for

    # Capabilities are a thread's own: this one goes on with all of them.
    with ThreadPoolExecutor(1, initializer=keep_only, initargs=(NEEDS["exporter"],)) as thread:
        return thread.submit(attach).result()


#: What it takes to go on: the kernel tells of runs that it skipped.
KEPT = ("CAP_BPF",)


def _use_one_arena() -> None:
    """Have all threads allocate from the same memory (glibc); few allocate at the same time."""
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _state(
    measures: Sequence[Measure],
    lock: threading.Lock,
    ended: threading.Event,
    tell: Callable[[str], None],
    netns: int | None,
) -> list[Part]:
    """Settings and groups, which are read again and again."""
    from locality.exporter.state import MachineState  # noqa: PLC0415 - takes 4 MB

    accepts, reads = of_kind(Accepts, measures), of_kind(Reads, measures)
    state = MachineState(lock, accepts, reads, tell, netns)
    state.watch(partial(keep_only, NEEDS["doctor"]), ended)
    return [state]


def of_kind(kind: type[M], measures: Iterable[Measure]) -> M | None:
    """The measurement of a kind, if it is made."""
    return next((measure for measure in measures if isinstance(measure, kind)), None)


def _warn(listen: tuple[str, int], security: Security, tell: Callable[[str], None]) -> None:
    closed = security.credentials is not None or security.client_ca is not None
    if not ipaddress.ip_address(listen[0]).is_loopback and not closed:
        tell(
            f"everybody who reaches {where(listen)} can read the metrics: --basic-auth or "
            "--tls-client-ca asks who it is"
        )


def _until_asked(request: Request, registry: CollectorRegistry, file: TextFile | None) -> None:
    """Write the file at each interval, until the time is over or a signal asks to end."""
    end = math.inf if request.duration is None else time.monotonic() + request.duration
    keep_only([*KEPT, *FILES])
    with interruptible() as wait:
        if request.ready_file is not None:
            announce(request.ready_file, wait)
        if file is None:
            keep_only(KEPT)
        stopped = False
        while not stopped and (left := end - time.monotonic()) > 0:
            if file is not None:
                file.write(registry)
            pause = LONGEST_SLEEP if file is None else request.interval
            stopped = wait(min(pause, left)).stop
