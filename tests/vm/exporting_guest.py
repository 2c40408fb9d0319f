"""In a guest: `locality exporter`, `locality accept` beside it, and connections to a group.

    python -m tests.vm.exporting_guest CONNECTIONS [--steer]

With --steer each connection is accepted where it was received, else by a hash. The guest has a card
on QEMU's user network. In /run/share it writes the file ready, waits for the file go, makes the
connections, writes to counted what `accept` saw by distance, and waits for the file finish.
`test_two_exporters` is on the other end.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from locality import cbpf
from locality.attach_cbpf import attach
from tests.live.helpers.commands import tracing
from tests.live.helpers.prometheus import connect, serving
from tests.live.helpers.traffic import HERE, PATIENCE, THERE

SHARE = Path("/run/share")
#: What QEMU's user network gives to the first guest, and to which it forwards.
ADDRESS, PREFIX, PORT = "10.0.2.15", 24, 9817


def run(*argv: str) -> None:
    """A program that has to work."""
    subprocess.run(argv, check=True)


def card_up() -> None:
    """Give the card its address."""
    run("modprobe", "virtio_net")
    if shutil.which("udevadm"):  # it gives the card another name
        run("udevadm", "settle")
    (card,) = Path("/sys/bus/virtio/drivers/virtio_net").glob("virtio*/net/*")
    run("ip", "address", "add", f"{ADDRESS}/{PREFIX}", "dev", card.name)
    run("ip", "link", "set", card.name, "up")


def tell(name: str, text: str = "") -> None:
    """Write a file that is complete when it is there."""
    (SHARE / f"{name}.part").write_text(text)
    (SHARE / f"{name}.part").rename(SHARE / name)


def wait_for(name: str) -> None:
    """Wait for a file from outside. The guest's own time-out ends this."""
    while not (SHARE / name).exists():
        time.sleep(0.2)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("connections", type=int)
    parser.add_argument("--steer", action="store_true")
    asked = parser.parse_args()
    card_up()
    first, second = (Path(tempfile.mkdtemp()) for _ in range(2))
    with serving() as (pid, port, fd):
        if asked.steer:
            attach(pid, fd, cbpf.table({HERE: 0, THERE: 1}))
        where = ("--port", port)
        listen = ("--listen", f"{ADDRESS}:{PORT}")
        with (
            tracing(first, "exporter", *where, "--measure", "accepts", *listen),
            tracing(second, "accept", *where, "--json") as accept,
        ):
            tell("ready")
            wait_for("go")
            connect(port, asked.connections)
            accept.send_signal(signal.SIGINT)
            lines, _ = accept.communicate(timeout=PATIENCE)
            records = [json.loads(line) for line in lines.splitlines()]
            seen = Counter(one["distance"] for one in records if "rxcpu" in one)
            tell("counted", json.dumps(seen))
            wait_for("finish")


if __name__ == "__main__":
    main()
