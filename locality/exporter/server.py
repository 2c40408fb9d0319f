"""The HTTP server that Prometheus asks for metrics.

It is prometheus_client's, with what that one leaves to others: a password, a bound on the requests
that are answered at once, a time after which a silent client is given up, and a time in which each
request has to end. A TLS handshake is made by the request's own thread, so that no client keeps
others waiting.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import io
import os
import socket
import ssl
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from locality.errors import LocalityError
from locality.files import reason
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client import CollectorRegistry

#: So many requests are answered at once; a further one is closed. Prometheus makes one at a time.
MOST_REQUESTS = 8
#: A client that is silent for so long is given up; seconds.
PATIENCE_S = 10
#: A request has to be read and answered in so many seconds; else its connection is closed. Without
#: this, a client that sends one byte now and then is never silent for long and keeps its place.
REQUEST_S = 15


@dataclass(frozen=True)
class Security:
    """Who may ask.

    Attributes:
        certificate: The server's certificate, and those of its issuers (PEM); no TLS if None.
        key: Its private key (PEM).
        client_ca: Only clients with a certificate of one of these issuers (PEM) are answered.
        credentials: ``USER:PASSWORD`` that a client must give (HTTP basic authentication).
    """

    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    credentials: bytes | None = None

    def context(self) -> ssl.SSLContext | None:
        """How TLS is spoken; None if it is not.

        Raises:
            LocalityError: A file cannot be used.
        """
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        path = self.certificate
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                path = self.client_ca
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise LocalityError(
                f"cannot use {printable(str(path))} for TLS: {reason(error)}"
            ) from None
        return context


def read_credentials(path: Path) -> bytes:
    """``USER:PASSWORD`` from a file that only its owner may read.

    Raises:
        LocalityError: It cannot be read, others may read it, or it holds something else.
    """
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.read(4096).removesuffix(b"\n").removesuffix(b"\r")
    except (OSError, ValueError) as error:
        raise LocalityError(f"cannot read {name}: {reason(error)}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise LocalityError(f"others may read {name}, which holds a password: chmod 600 {name}")
    user, colon, password = line.partition(b":")
    if not (user and colon and password) or b"\n" in line:
        raise LocalityError(f"{name} holds no USER:PASSWORD: write one line of that form")
    return line


class _Handler(WSGIRequestHandler):
    """Answers, and logs nothing: names from outside would be on the terminal."""

    timeout: ClassVar[int] = PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - as inherited
        """Log nothing."""

    def get_stderr(self) -> io.StringIO:
        """Nor an answer that breaks off: any client can cause that, and it would be a traceback."""
        return io.StringIO()

    def get_environ(self) -> WSGIEnvironment:
        """Without the client's name, which a name server would have to tell."""
        environ = super().get_environ()
        environ["REMOTE_HOST"] = ""
        return environ


class Server(ThreadingWSGIServer):
    """As the class above it, for so many requests at once."""

    def __init__(self, *args: Any, **attributes: Any) -> None:  # noqa: ANN401 - as inherited
        self._thread: threading.Thread | None = None
        self._room = threading.BoundedSemaphore(MOST_REQUESTS)
        self._begun: dict[socket.socket, float] = {}
        self._begun_lock = threading.Lock()
        super().__init__(*args, **attributes)

    def server_bind(self) -> None:
        """Bind, and do not ask a name server for this machine's name, as the one above does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def start(self, settled: Callable[[], None]) -> None:
        """Answer requests, in threads of their own, until `stop`.

        Args:
            settled: Called first by the thread that the others are started from: they have no more
                privileges than that leaves.
        """

        def answer() -> None:
            settled()
            self.serve_forever()

        self._thread = threading.Thread(target=answer, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread is not None:
            self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer in a thread, if there is room."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._begun_lock:
            self._begun[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Close the connection of a request that has ended."""
        with self._begun_lock:
            self._begun.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Break off the requests that take too long; called twice a second.

        Their threads close them: a read or a write that waits ends at once.
        """
        latest = time.monotonic() - REQUEST_S
        with self._begun_lock:
            for request, begun in self._begun.items():
                if begun < latest:
                    with suppress(OSError):  # the client has gone
                        # Not that of SSLSocket, which takes TLS off the thread that speaks it.
                        socket.socket.shutdown(request, socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that went away, or that spoke no TLS, is no news."""


def listen(registry: CollectorRegistry, address: tuple[str, int], security: Security) -> Server:
    """Listen; `Server.start` begins to answer.

    Args:
        registry: The metrics.
        address: Where: a numeric address, and a port; 0 lets the kernel choose.
        security: Who may ask.

    Raises:
        LocalityError: It cannot listen there, or a file for TLS cannot be used.
    """
    context = security.context()
    app = with_errors_in_words(make_wsgi_app(registry))
    if security.credentials is not None:
        app = asking_for(security.credentials, app)
    host, port = address
    family = type("Server", (Server,), {"address_family": family_of(host)})
    try:
        server: Server = make_server(host, port, app, family, _Handler)
    except OSError as error:
        raise LocalityError(
            f"cannot listen on {where(address)}: {reason(error)}: choose another address with "
            "--listen"
        ) from None
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    return server


def family_of(host: str) -> socket.AddressFamily:
    """Of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def where(address: tuple[Any, ...]) -> str:
    """An address and a port in words: ``127.0.0.1:9817``, ``[::1]:9817``."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_errors_in_words(app: WSGIApplication) -> WSGIApplication:
    """The same, with a line in the answer for what keeps it from being made.

    It may be the client's fault: of an Accept header with a version that is no number
    prometheus_client makes a TypeError.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one is answered
            headers = [("Content-Type", "text/plain; charset=utf-8")]
            start_response("500 Internal Server Error", headers)
            said = printable(f"{type(error).__name__}: {error}")
            return [f"the metrics cannot be given out: {said}\n".encode()]

    return guarded


def asking_for(credentials: bytes, app: WSGIApplication) -> WSGIApplication:
    """The same, for those who give a name and a password.

    Args:
        credentials: ``USER:PASSWORD``.
        app: Answers those.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if hmac.compare_digest(_given(environ.get("HTTP_AUTHORIZATION", "")), credentials):
            return app(environ, start_response)
        headers = [("WWW-Authenticate", 'Basic realm="locality"'), ("Content-Type", "text/plain")]
        start_response("401 Unauthorized", headers)
        return [b"a name and a password are needed\n"]

    return guarded


def _given(header: str) -> bytes:
    """What a client gave; empty if that is nothing, or no basic authentication."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
