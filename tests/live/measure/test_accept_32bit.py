"""Connections that a 32-bit program accepts: its system calls have other numbers and registers."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from locality.accept.source import RUNGS, AcceptSource, Filter
from tests.live.helpers.program_32bit import CALLS, write_program
from tests.live.helpers.rungs import parametrize
from tests.live.helpers.traffic import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.accept]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc, AcceptSource, RUNGS)


# Bugs: numbers of 64-bit calls are looked for in the registers of a 32-bit program, so that its
# connections are not seen, or another call passes for an accept; the listening descriptor is taken
# from a register that such a program does not pass it in.
@pytest.mark.core
@pytest.mark.parametrize("call", CALLS)
def test_each_connection_of_a_32bit_program(rung: str, call: str, tmp_path: Path) -> None:
    if rung == "tracepoint":
        pytest.skip("limitation: the kernel's tracepoints do not show calls of 32-bit programs")
    program = tmp_path / "accept"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        write_program(program, call, listener.fileno())
        with AcceptSource(Filter(ports=(listener.getsockname()[1],)), rung) as source:
            try:
                process = subprocess.Popen([program], pass_fds=[listener.fileno()])
            except OSError:
                pytest.skip("limitation: this kernel does not run 32-bit programs")
            with process, socket.create_connection(listener.getsockname(), PATIENCE) as client:
                fd = process.wait(PATIENCE)
                port = client.getsockname()[1]
            records = source.read().records
        listen_fd = listener.fileno()
    names = ("pid", "listen_fd", "fd", "rport")
    assert records[[*names]].tolist() == [(process.pid, listen_fd, fd, port)]
