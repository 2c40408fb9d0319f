"""The wire from a guest to its load generator; here both ends are on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.lab.experiment import URL, open_lab
from locality.lab.programs import children
from tests.vm.load_wire import RemoteLoad, serving_load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.lab.experiment import LocalLab

pytestmark = pytest.mark.live


@contextmanager
def wired(lab: LocalLab) -> Iterator[RemoteLoad]:
    """The guest's end, on the socket that QEMU would connect to."""
    with serving_load(lab.client, URL, threads=1) as options:
        path = re.search(r"path=([^,]+)", " ".join(options))
        assert path
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(path[1].split()[0])
            with end.makefile("rwb", buffering=0) as port:
                yield RemoteLoad(port)


def load_generators(lab: LocalLab) -> list[int]:
    """Pids of what runs in the lab's client, but for the `cat` that holds it."""
    network = Path(f"/proc/{lab.client.pid}/ns/net").stat().st_ino
    return [
        pid
        for parent in children(os.getpid())
        for pid in children(parent)
        if Path(f"/proc/{pid}/comm").read_text() != "cat\n"
        and Path(f"/proc/{pid}/ns/net").stat().st_ino == network
    ]


# Bug: what was done does not arrive, or the second load does not start because the first is
# thought to run.
def test_load_is_started_and_stopped_again_and_again() -> None:
    with open_lab() as lab, wired(lab) as outside:
        for _ in range(2):
            outside.start()
            assert len(load_generators(lab)) == 1
            time.sleep(0.3)
            result = outside.stop()
            assert load_generators(lab) == []
            assert result.requests > 0
            assert result.errors == {}


# Bug: a load generator that died outside is, inside, one that got nothing done.
def test_a_killed_load_generator_is_an_error_at_the_other_end() -> None:
    with open_lab() as lab, wired(lab) as outside:
        outside.start()
        (pid,) = load_generators(lab)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        with pytest.raises(LocalityError, match=r"^wrk .*: killed by signal 9$"):
            outside.stop()


# Bug: load goes on when the guest that asked for it is gone, or the wire cannot be closed then.
def test_load_ends_with_the_guest() -> None:
    with open_lab() as lab:
        with wired(lab) as outside:
            outside.start()
            assert len(load_generators(lab)) == 1
        assert load_generators(lab) == []
