"""Find a port's groups, give them the program that fits, prove it, and keep it so."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.attach_cbpf import attach
from locality.lab.experiment import URL, LocalLab, open_lab
from locality.lab.load import run_load
from locality.lab.namespaces import namespace
from locality.lab.nginx import PORT, PREFIX, render
from locality.lab.programs import children
from locality.machine import topology
from locality.reuseport.survey import FoundGroup, find
from locality.steering.incoming_effect import require_effective
from locality.steering.watch import watching
from tests.live.helpers.commands import LOCALITY
from tests.live.helpers.rungs import ASKED
from tests.live.helpers.traffic import HERE, PATIENCE, THERE
from tests.live.helpers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
    pytest.mark.skipif(ASKED is not None, reason="limitation: no rung of its own"),
]


@pytest.fixture
def lab() -> Iterator[LocalLab]:
    with open_lab(workers=2) as opened:
        yield opened


def network(lab: LocalLab) -> int:
    return Path(f"/proc/{lab.server.pid}/ns/net").stat().st_ino


def steer(lab: LocalLab, *options: str) -> subprocess.CompletedProcess[str]:
    """Run attach-cbpf on the lab's port."""
    return subprocess.run(command(lab, *options), capture_output=True, text=True, check=False)


def command(lab: LocalLab, *options: str) -> list[str]:
    where = ("--port", str(PORT), "--netns", str(network(lab)))
    return [*LOCALITY, "attach-cbpf", *where, *options]


def group_of(lab: LocalLab) -> FoundGroup:
    (found,) = [one for one in find(ports=[PORT]) if one.netns == network(lab)]
    return found


def accept_local(lab: LocalLab, seconds: float = 0.5) -> float:
    """The share of the lab's accepts on their RX CPU; the load runs already."""
    with watching(topology.read(), [PORT], [network(lab)]) as watch:
        counted = watch.count(seconds)
    assert counted.lost == 0
    return counted.local / max(counted.total, 1)


def percents(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"([\d.]+)% accept-local", text)]


# Bugs: the order of the group is not read, so the map is that of workers in order; what is
# measured before and after is not of this port, or is measured before the change took effect.
def test_the_automatic_map_finds_reversed_workers_and_proves_it(lab: LocalLab) -> None:
    lab.serve(reverse=True)
    attach(lab.nginx.pid, lab.nginx.listen_fds()[0], cbpf.cpu(2))
    with lab.load():
        done = steer(lab, "--map", "auto", "--verify", "1")
    assert done.returncode == 0, done.stderr
    before, after = percents(done.stdout)
    assert before <= 1, done.stdout
    assert after >= 99, done.stdout
    assert group_of(lab).group.program == cbpf.table(dict(zip(lab.nginx.cpus, (0, 1), strict=True)))


# Bugs: a change for the worse ends like one for the better; it is kept.
def test_what_made_it_worse_is_taken_back(lab: LocalLab) -> None:
    first, second = lab.cpus
    attach(lab.nginx.pid, lab.nginx.listen_fds()[0], cbpf.cpu(2))
    with lab.load():
        done = steer(lab, "--map", f"{first}:1,{second}:0", "--verify", "1")
    assert done.returncode == 3
    assert "got worse: the change was taken back" in done.stderr
    assert group_of(lab).group.program == cbpf.cpu(2)
    before, after = percents(done.stdout)
    assert before >= 99
    assert after <= 1


# Bug: a map is made of workers that run anywhere, and the user believes in it.
def test_workers_that_are_not_pinned_are_refused(lab: LocalLab) -> None:
    for pid in lab.nginx.workers():
        os.sched_setaffinity(pid, topology.read().online)
    refused = steer(lab, "--map", "auto")
    assert refused.returncode == 1
    assert "pin them" in refused.stderr
    assert not group_of(lab).group.attached
    assert steer(lab, "--map", "auto", "--force").returncode == 0
    assert group_of(lab).group.attached


# Bug: the other way steers to the wrong worker, or cannot be taken back.
def test_incoming_cpu_steers_too_and_is_taken_away(lab: LocalLab) -> None:
    try:
        require_effective()
    except Exception as reason:  # noqa: BLE001 - whatever it says
        pytest.skip(f"limitation: {reason}")
    lab.serve(reverse=True)
    with lab.load():
        done = steer(lab, "--with", "incoming-cpu", "--verify", "1")
        assert done.returncode == 0, done.stderr
        assert percents(done.stdout)[1] >= 99
        assert [one.incoming_cpu for one in group_of(lab).group.members] == [*lab.nginx.cpus]
        assert steer(lab, "--with", "incoming-cpu", "--detach").returncode == 0
        assert [one.incoming_cpu for one in group_of(lab).group.members] == [None, None]
        time.sleep(0.5)
        assert 0.3 <= accept_local(lab) <= 0.7


ANSWER = """
from locality.steering.incoming_effect import effect
found = effect()
print(found.works, found.why)
"""


# Bugs: where RPS has packets to 127.0.0.1 processed elsewhere, the kernel is said to ignore
# SO_INCOMING_CPU; where lo is up and nothing is in the way, nothing is known.
def test_what_says_nothing_of_incoming_cpu_is_no_answer() -> None:
    with namespace() as end:
        inside = ["nsenter", "--target", str(end.pid), "--net", "--mount", "--"]

        def answer() -> str:
            return subprocess.run(
                [*inside, sys.executable, "-c", ANSWER], check=True, capture_output=True, text=True
            ).stdout

        end.run("ip", "link", "set", "lo", "up")
        assert answer().split()[0] in {"True", "False"}
        end.run("sh", "-c", f"echo {1 << HERE:x} >/sys/class/net/lo/queues/rx-0/rps_cpus")
        assert answer().startswith("None CPU ")
        end.run("ip", "link", "set", "lo", "down")
        assert answer().startswith("None ")


# --- follow -------------------------------------------------------------------------------


@dataclass
class Following:
    """A running --follow, and what it has said."""

    process: subprocess.Popen[str]
    log: Path

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


@contextmanager
def following(lab: LocalLab, log: Path, *options: str) -> Iterator[Following]:
    with (
        log.open("w") as file,
        subprocess.Popen(
            command(lab, "--map", "auto", "--follow", *options),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            yield Following(process, log)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def until_local(lab: LocalLab, why: Callable[[], object]) -> None:
    """Wait until accepts under load are local; fail with what was said."""
    deadline = time.monotonic() + PATIENCE
    local = 0.0
    with lab.load():
        while local < 0.99:
            assert time.monotonic() < deadline, f"{local:.0%} local: {why()}"
            local = accept_local(lab)


def configure(lab: LocalLab, cpus: Sequence[int], daemon: str = "daemon off;") -> None:
    text = render(cpus).replace("daemon off;", daemon)
    lab.server.write(f"{PREFIX}/nginx.conf", text)


def running_workers(master: int) -> int:
    """How many workers an nginx master has that are not shutting down."""
    return sum(
        line.startswith(b"nginx: worker process") and b"shutting" not in line
        for line in map(command_line, children(master))
    )


def command_line(pid: int) -> bytes:
    """How a process says it was called; nothing if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


# Bugs: a reload adds sockets that get nothing, or closes some and the program points past the
# end; a stopped and started server has no program.
def test_following_survives_what_servers_do(lab: LocalLab, tmp_path: Path) -> None:
    master = lab.nginx.pid
    two, four = [*lab.cpus], [*lab.cpus, *lab.cpus]
    with following(lab, tmp_path / "log") as follower:
        until_local(lab, follower.lines)

        configure(lab, four)
        os.kill(master, signal.SIGHUP)
        until(lambda: len(group_of(lab).group.members) == 4)
        until_local(lab, follower.lines)
        # The two CPUs of a group of four have two workers each: the map names one of each.
        configure(lab, two)
        os.kill(master, signal.SIGHUP)
        until(lambda: len(group_of(lab).group.members) == 2)
        until_local(lab, follower.lines)

        os.kill(next(iter(lab.nginx.workers())), signal.SIGKILL)
        until(lambda: running_workers(master) == 2)
        until_local(lab, follower.lines)

        lab.serve()  # another nginx
        assert lab.nginx.pid != master
        until_local(lab, follower.lines)
    assert any("sockets, were" in line for line in follower.lines())
    assert any("a new group of" in line or "has gone" in line for line in follower.lines())
    assert group_of(lab).group.attached, "the program stays when the follower goes"


# Bug: after a binary upgrade the new master, who polls nothing, is taken for a worker.
def test_following_survives_a_binary_upgrade(lab: LocalLab, tmp_path: Path) -> None:
    lab._serving.close()  # noqa: SLF001 - one that may replace itself takes its place
    # nginx ignores the signal where its parent started it in the foreground, and runs itself
    # again by the name it was called.
    configure(lab, lab.cpus, "daemon on;")
    nginx = f"{shutil.which('nginx')} -e stderr -p {PREFIX} -c nginx.conf"
    with lab.server.start("sh", "-c", f"{nginx} && exec sleep 1000"):
        # While it becomes a daemon there are two by this name, of which one gets workers.
        until(lambda: any(running_workers(pid) == 2 for pid in masters(lab)))
        (old,) = (pid for pid in masters(lab) if running_workers(pid) == 2)
        with following(lab, tmp_path / "log") as follower:
            until(lambda: group_of(lab).group.attached)
            os.kill(old, signal.SIGUSR2)
            until(lambda: any(running_workers(pid) == 2 for pid in masters(lab) - {old}))
            os.kill(old, signal.SIGQUIT)
            until(lambda: old not in masters(lab))
            deadline = time.monotonic() + PATIENCE
            local = 0.0
            with run_load(lab.client, URL, threads=2):
                while local < 0.99:
                    assert time.monotonic() < deadline, f"{local:.0%} local: {follower.lines()}"
                    local = accept_local(lab)
            assert len(masters(lab)) == 1


def masters(lab: LocalLab) -> set[int]:
    """The nginx masters in the lab's server namespace."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            here = (path / "ns/net").stat().st_ino == network(lab)
            if here and command_line(int(path.name)).startswith(b"nginx: master"):
                found.add(int(path.name))
    return found


# Bugs: the program outlives a follower who was to take it away; one that somebody else
# attached meanwhile is not put right.
def test_a_follower_puts_right_what_others_change_and_takes_it_away(
    lab: LocalLab, tmp_path: Path
) -> None:
    fitting = cbpf.table(dict(zip(lab.nginx.cpus, (0, 1), strict=True)))
    with following(lab, tmp_path / "log", "--detach-on-exit") as follower:
        until(lambda: any("a group of 2 has" in line for line in follower.lines()))
        assert group_of(lab).group.program == fitting
        attach(lab.nginx.pid, lab.nginx.listen_fds()[0], cbpf.cpu(1))
        until(lambda: group_of(lab).group.program == fitting)
    assert any("another program" in line for line in follower.lines())
    assert group_of(lab).group.attached is False


# Bug: a service that starts before its server gives up.
def test_a_follower_waits_for_its_server(lab: LocalLab, tmp_path: Path) -> None:
    lab._serving.close()  # noqa: SLF001 - a lab whose nginx has stopped
    with following(lab, tmp_path / "log") as follower:
        time.sleep(1.5)
        assert follower.process.poll() is None, follower.lines()
        lab.serve(reverse=True)
        until_local(lab, follower.lines)
