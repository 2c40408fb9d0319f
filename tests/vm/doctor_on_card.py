"""In a guest with a card of four queues: spoil it, let the doctor fix it, undo that, compare.

Prints one JSON object with everything that was seen on the way; `test_doctor_on_card` judges.
"""

from __future__ import annotations

import errno
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from locality.machine.ethtool import read_indirection, write_indirection
from tests.trees.trees import capture

ADDRESS, PEER = "198.18.0.1/24", "198.18.0.2"
QUEUES = 4
CONNECTIONS = 64
TABLE = (0, 2)  # queues 1 and 3 get nothing
UNDO = "/tmp/undo.json"  # noqa: S108 - the guest is ours alone

STATE = ("proc/irq/*/*affinity*", "proc/sys/net/**/*", "sys/class/net/*/queues/*/*")


def run(*argv: str) -> tuple[int, str]:
    """Exit status, and both outputs."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def locality(*arguments: str) -> tuple[int, str]:
    return run(sys.executable, "-m", "locality", *arguments)


def state(link: str) -> dict[str, str]:
    """Every file that could have been changed, and the RSS table."""
    files = {"table": " ".join(map(str, read_indirection(link)))}
    for pattern in STATE:
        for path in sorted(Path("/").glob(pattern)):
            if path.is_file():
                try:
                    files[str(path)] = path.read_bytes().hex()
                except OSError as error:
                    files[str(path)] = f"{error.strerror}"
    return files


def traffic() -> int:
    """Interrupts on the queues, so that those which are to move do move.

    Nobody listens there, and says so: a packet back for each of ours, by many hashes.
    """
    refused = 0
    for _ in range(CONNECTIONS):
        with socket.socket() as client:
            client.settimeout(5)
            refused += client.connect_ex((PEER, 9)) == errno.ECONNREFUSED
    return refused


def interrupts(link: str) -> list[Path]:
    bus = Path(f"/sys/class/net/{link}/device/../msi_irqs").resolve()
    return [Path("/proc/irq") / irq.name for irq in bus.iterdir()]


def spoil(link: str) -> None:
    """Everything as the checklist does not want it; masks wide, as they are by default."""
    for irq in interrupts(link):
        (irq / "smp_affinity_list").write_text("0")
    for irq in interrupts(link):
        (irq / "smp_affinity_list").write_text(f"0-{QUEUES - 1}")
    queues = Path(f"/sys/class/net/{link}/queues")
    for queue in range(QUEUES):
        (queues / f"rx-{queue}/rps_cpus").write_text("f")
        (queues / f"tx-{queue}/xps_cpus").write_text("0")
    Path("/proc/sys/net/core/rps_sock_flow_entries").write_text("4096")
    if (defer := Path("/proc/sys/net/core/skb_defer_max")).exists():
        defer.write_text("0")
    size = len(read_indirection(link))
    write_indirection(link, tuple(TABLE[index % len(TABLE)] for index in range(size)))


def main() -> None:
    """See the module's text."""
    run("modprobe", "virtio_net")
    if shutil.which("udevadm"):  # it gives the card another name
        run("udevadm", "settle")
    (card,) = Path("/sys/bus/virtio/drivers/virtio_net").glob("virtio*/net/*")
    link = card.name
    run("ip", "address", "add", ADDRESS, "dev", link)
    run("ip", "link", "set", link, "up")
    seen: dict[str, object] = {"link": link, "capture": capture()}
    spoil(link)
    seen["refused"] = traffic()
    seen["before"] = state(link)
    seen["doctor"] = locality("doctor")
    seen["fix"] = locality("doctor", "--fix", "--yes", "--undo-file", UNDO)
    seen["refused again"] = traffic()
    seen["fixed"] = state(link)
    seen["doctor again"] = locality("doctor")
    seen["undo"] = locality("undo", UNDO)
    seen["back"] = state(link)
    print(json.dumps(seen))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
