"""Whether `locality exporter` grows while connections, ports and workers come and go.

    python -m benchmarks.exporter_churn FILE.csv [--minutes 60] [--rate 200] [-- OPTIONS]

Each second a new worker process starts, or on a busy machine less often. It opens ports that were
not used before, has a connection to each of them, which it accepts and reads, a datagram for each
tenth, and ends. Every thirty seconds the two workers of one SO_REUSEPORT group are replaced. The
exporter is asked every five seconds. A line of the file is written each minute: minutes, resident
memory in kB (all, and what no file backs), seconds of CPU time, connections made, and series given
out.

Ends with the growth an hour: of a straight line through the minutes after the first ten.
"""

from __future__ import annotations

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ASK_S, GROUP_S, WARM_MIN = 5, 30, 10
COLUMNS = ("minute", "rss_kb", "anonymous_kb", "cpu_s", "connections", "series")
#: Serves as many ports as it is told to, one after the other.
WORKER = """
import socket, sys, time
end = time.monotonic() + 1
for number in range(count := int(sys.argv[1])):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            with listener.accept()[0] as accepted:
                client.send(b"x")
                accepted.recv(1)
    if number % 10 == 0:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", 0))
            udp.sendto(b"x", udp.getsockname())
            udp.recv(1)
    time.sleep(max(0.0, (end - time.monotonic()) / (count - number)))
"""
MEMBER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
while True:
    listener.accept()[0].close()
"""


def usage(pid: int) -> tuple[int, int, float]:
    """Resident memory (all, anonymous) in kB, and seconds of CPU time."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    numbers = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    spent = (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    return int(status["VmRSS"].split()[0]), int(status["RssAnon"].split()[0]), spent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def started(program: str, argument: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-IS", "-c", program, str(argument)])


class Group:
    """Two workers of one SO_REUSEPORT group, which are replaced."""

    def __init__(self) -> None:
        self._port = free_port()
        self._members: list[subprocess.Popen[bytes]] = []

    def replace(self) -> None:
        """End the workers, and start others."""
        self.end()
        self._members = [started(MEMBER, self._port) for _ in range(2)]

    def end(self) -> None:
        """End the workers."""
        for member in self._members:
            member.terminate()
            member.wait()


def churn(minutes: int, rate: int, options: Sequence[str]) -> Iterator[list[float]]:
    """A line for each minute, as in `COLUMNS`."""
    address, group = f"127.0.0.1:{free_port()}", Group()
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch, "ready")
        command = [sys.executable, "-m", "locality", "exporter", "--listen", address, *options]
        exporter = subprocess.Popen([*command, "--ready-file", ready])
        try:
            while not ready.exists():
                if exporter.poll() is not None:
                    sys.exit("the exporter ended")
                time.sleep(0.1)
            begin = time.monotonic()
            connections = series = 0
            due = {"group": 0.0, "ask": 0.0, "line": 0.0}
            every = {"group": GROUP_S, "ask": ASK_S, "line": 60}
            while (passed := time.monotonic() - begin) < 60 * minutes + 1:
                now = {name for name, at in due.items() if passed >= at}
                due |= {name: due[name] + every[name] for name in now}
                if "group" in now:
                    group.replace()
                worker = started(WORKER, rate)
                if "ask" in now:
                    series = asked_for(address)
                if "line" in now:
                    yield [round(passed / 60, 2), *usage(exporter.pid), connections, series]
                worker.wait()
                connections += rate
                time.sleep(max(0.0, begin + passed + 1 - time.monotonic()))
        finally:
            group.end()
            exporter.terminate()
            exporter.wait()


def asked_for(address: str) -> int:
    """The number of series in the exporter's answer."""
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    return sum(not line.startswith("#") for line in text.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("options", nargs="*", help="of locality exporter")
    asked = parser.parse_args()
    lines = []
    with asked.file.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for line in churn(asked.minutes, asked.rate, asked.options):
            lines.append(line)
            table.writerow(line)
            file.flush()
    found = np.array(lines)[min(WARM_MIN, max(0, len(lines) - 3)) :]
    growth = 60 * np.polyfit(found[:, 0], found[:, 1], 1)[0]
    spent = (found[-1, 3] - found[0, 3]) / (60 * (found[-1, 0] - found[0, 0]))
    print(f"{lines[-1][0]:.0f} minutes, {lines[-1][4]:,} connections to new ports")
    print(f"memory: {lines[0][1] / 1e3:.1f} MB at first, {lines[-1][1] / 1e3:.1f} MB at the end")
    print(f"growth: {growth / 1e3:+.2f} MB an hour, after the first {int(found[0, 0])} minutes")
    print(f"CPU time: {spent:.2%} of a CPU")


if __name__ == "__main__":
    main()
