"""The wire between an experiment in a guest and its load generator outside: a serial port.

The guest asks with one line, `start` or `stop`, and gets one line of JSON back: what was
done, or why not. The port is not the network under test, so what is said over it is not
measured.
"""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from locality.errors import LocalityError
from locality.lab.load import LoadResult, run_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from io import BufferedIOBase, RawIOBase

    from locality.lab.load import RunningLoad
    from locality.lab.namespaces import Namespace

PORT_NAME = "load"
PORTS = Path("/sys/class/virtio-ports")


@contextmanager
def serving_load(client: Namespace, url: str, threads: int) -> Iterator[tuple[str, ...]]:
    """Run load when the guest asks for it, until the block ends.

    Args:
        client: Where the load generator runs.
        url: What it asks for.
        threads: How many threads it has.

    Yields:
        The options for QEMU that make the port; whatever still runs when QEMU ends is ended.
    """

    class Wire(StreamRequestHandler):
        def handle(self) -> None:
            _obey(self.rfile, self.wfile, lambda: run_load(client, url, threads))

    with TemporaryDirectory(prefix="locality-load-") as directory:
        path = f"{directory}/port"
        with UnixStreamServer(path, Wire) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield (
                    *("-chardev", f"socket,id={PORT_NAME},path={path}"),
                    *("-device", f"virtserialport,chardev={PORT_NAME},name={PORT_NAME}"),
                )
            finally:
                server.shutdown()
                thread.join()


def _obey(
    asked: Iterable[bytes],
    answers: BufferedIOBase,
    load: Callable[[], AbstractContextManager[RunningLoad]],
) -> None:
    """Do what each line says; at the end of the lines, end what runs."""
    # A guest that is gone needs no answer.
    with suppress(ConnectionError), ExitStack() as running:
        started: RunningLoad | None = None
        for line in asked:
            answer: dict[str, object] = {}
            try:
                if line == b"start\n":
                    started = running.enter_context(load())
                elif started is not None:
                    answer = asdict(started.stop())
                    running.close()
            except LocalityError as error:
                answer = {"error": str(error)}
            answers.write(json.dumps(answer).encode() + b"\n")


@dataclass(frozen=True)
class RemoteLoad:
    """The guest's end: load that runs outside."""

    port: RawIOBase

    def start(self) -> None:
        """Start it.

        Raises:
            LocalityError: It could not be started.
        """
        self._ask(b"start\n")

    def stop(self) -> LoadResult:
        """Stop it and read its result; see `RunningLoad`."""
        return LoadResult(**self._ask(b"stop\n"))

    def _ask(self, line: bytes) -> dict[str, Any]:
        self.port.write(line)
        answer = self.port.readline()
        if not answer.endswith(b"\n"):
            raise LocalityError("the load generator outside the guest is gone")
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise LocalityError(told["error"])
        return told


@contextmanager
def wire_to_load() -> Iterator[RemoteLoad]:
    """The guest's end of the wire, for the time of the block.

    Raises:
        LocalityError: This machine has no such port.
    """
    for name in PORTS.glob("*/name"):
        if name.read_text().strip() == PORT_NAME:
            with Path("/dev", name.parent.name).open("r+b", buffering=0) as port:
                yield RemoteLoad(port)
            return
    raise LocalityError(f"no serial port is named {PORT_NAME}: this is for a guest of demo-vm")
