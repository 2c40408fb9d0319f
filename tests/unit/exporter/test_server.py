"""Who gets an answer of the exporter's HTTP server."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from locality.errors import LocalityError
from locality.exporter.server import MOST_REQUESTS, Security, listen, read_credentials, where

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client import Metric


def known() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("known", "A metric.", registry=registry).set(7)
    return registry


@contextmanager
def serving(
    security: Security | None = None,
    host: str = "127.0.0.1",
    registry: CollectorRegistry | None = None,
) -> Iterator[tuple[str, int]]:
    server = listen(registry or known(), (host, 0), security or Security())
    server.start(lambda: None)
    try:
        yield server.server_address[:2]  # type: ignore[misc]
    finally:
        server.stop()


def asked(address: tuple[str, int], headers: dict[str, str] | None = None) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request("GET", "/metrics", headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


# Bug: the server does not answer at all, or on one address family alone.
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_answers(host: str) -> None:
    with serving(host=host) as address:
        status, text = asked(address)
    assert status == 200
    assert "known 7.0" in text


# Bug: a header that prometheus_client cannot read is a traceback in the log, from anybody.
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_strange_header_is_no_traceback(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as address:
        status, _ = asked(address, {"Accept": f"{kind}; version=none"})
        assert status in {200, 500}  # versions of prometheus_client differ
        assert asked(address)[0] == 200
    assert capsys.readouterr().err == ""


class Broken(Collector):
    """Metrics that cannot be made."""

    def describe(self) -> Iterator[Metric]:
        yield from ()

    def collect(self) -> Iterator[Metric]:
        raise LocalityError("the kernel\x1b[31m said no")


# Bug: what keeps metrics from being made is a traceback, and the client is not told.
def test_an_error_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    registry = CollectorRegistry()
    registry.register(Broken())
    with serving(registry=registry) as address:
        status, text = asked(address)
    assert status == 500
    assert text == ("the metrics cannot be given out: LocalityError: the kernel\\x1b[31m said no\n")
    assert capsys.readouterr().err == ""


# Bug: somebody without the password is answered, or one with it is not.
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (basic("me:wrong"), 401),
        (basic("me:secret "), 401),
        (basic("me"), 401),
        ({"Authorization": "Basic ===="}, 401),
        ({"Authorization": "Bearer me:secret"}, 401),
        (basic("me:secret"), 200),
        ({"Authorization": basic("me:secret")["Authorization"].replace("Basic", "basic")}, 200),
    ],
)
def test_the_password_is_asked_for(headers: dict[str, str], status: int) -> None:
    with serving(Security(credentials=b"me:secret")) as address:
        answer, text = asked(address, headers)
    assert (answer, "known" in text) == (status, status == 200)


# Bug: a password that others can read is taken, or a line without one stands for an empty one.
@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("me:secret\n", 0o640, "others may read"),
        ("me:secret\n", 0o604, "others may read"),
        ("me\n", 0o600, "USER:PASSWORD"),
        ("me:\n", 0o600, "USER:PASSWORD"),
        (":secret\n", 0o600, "USER:PASSWORD"),
        ("me:one\nyou:two\n", 0o600, "USER:PASSWORD"),
        ("", 0o600, "USER:PASSWORD"),
    ],
)
def test_credentials_that_are_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    file = tmp_path / "password"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(LocalityError, match=said):
        read_credentials(file)


# Bugs: a password with a colon is cut there; that of a file written on Windows ends in a return
# that nobody can type.
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_credentials(tmp_path: Path, end: str) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_bytes(f"me:a:b{end}".encode())
    assert read_credentials(file) == b"me:a:b"


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate that is its own issuer, and its key."""
    made, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


def asked_by_tls(address: tuple[str, int], context: ssl.SSLContext) -> int:
    with closing(http.client.HTTPSConnection(*address, timeout=10, context=context)) as connection:
        connection.request("GET", "/metrics")
        with connection.getresponse() as answer:
            return answer.status


# Bugs: a client without a certificate is answered; one with it is not; somebody who connects and
# says nothing keeps all others waiting.
def test_tls_with_certificates_of_clients(tmp_path: Path) -> None:
    server, server_key = certificate(tmp_path, "server")
    client, client_key = certificate(tmp_path, "client")
    with (
        serving(Security(server, server_key, client)) as address,
        socket.create_connection(address),
    ):
        known = ssl.create_default_context(cafile=server)
        known.load_cert_chain(client, client_key)
        assert asked_by_tls(address, known) == 200
        with pytest.raises(OSError):  # noqa: PT011 - TLS 1.3 tells it late, in several ways
            asked_by_tls(address, ssl.create_default_context(cafile=server))
        with pytest.raises((OSError, http.client.HTTPException)):
            asked(address)


# Bug: a file that is no certificate ends in a traceback.
def test_no_certificate(tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.touch()
    with pytest.raises(LocalityError, match=r"empty\.pem for TLS"):
        listen(CollectorRegistry(), ("127.0.0.1", 0), Security(file, file))


# Bug: clients that say nothing take a thread each, without end.
def test_no_more_requests_at_once_than_the_bound() -> None:
    with serving() as address:
        silent = [socket.create_connection(address, timeout=10) for _ in range(MOST_REQUESTS)]
        # Closed at once, and not answered; or reset, for what it sent was not read.
        with (
            suppress(ConnectionResetError),
            socket.create_connection(address, timeout=10) as last,
        ):
            assert last.recv(1) == b""
        for one in silent:
            one.close()


def kept_until_closed(client: socket.socket) -> bool:
    """Send a byte of a request now and then; whether the server closes the connection."""
    client.settimeout(0.2)
    end = time.monotonic() + 30
    with suppress(ConnectionError):
        while time.monotonic() < end:
            client.sendall(b"G")
            with suppress(TimeoutError):
                return client.recv(1) == b""
        return False
    return True


# Bug: clients that send a byte before each time-out keep their places without end, and nobody else
# is answered.
@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_sends_slowly_is_given_up(
    *, tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("locality.exporter.server.REQUEST_S", 1)
    security = Security(*certificate(tmp_path, "server")) if tls else Security()
    with serving(security) as address:
        slow: list[socket.socket] = []
        for _ in range(MOST_REQUESTS):
            client = socket.create_connection(address, timeout=10)
            if tls:
                context = ssl.create_default_context(cafile=tmp_path / "server.pem")
                client = context.wrap_socket(client, server_hostname="127.0.0.1")
            slow.append(client)
        assert kept_until_closed(slow[0])
        for client in slow:
            client.close()


# Bug: an address in use ends in a traceback.
def test_an_address_in_use() -> None:
    with serving() as address, pytest.raises(LocalityError, match="in use"):
        listen(CollectorRegistry(), address, Security())


# Bug: an IPv6 address cannot be told from its port.
def test_addresses_in_words() -> None:
    assert where(("::1", 9817, 0, 0)) == "[::1]:9817"
    assert where((str(ipaddress.ip_address("127.0.0.1")), 1)) == "127.0.0.1:1"
