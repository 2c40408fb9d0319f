"""The lab on the running kernel: it comes up as asked, shows what it must, leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.attach_cbpf import attach
from locality.errors import LocalityError
from locality.lab.demo import run
from locality.lab.expectations import Figure
from locality.lab.experiment import open_lab
from locality.lab.load import CONNECTIONS, run_load
from locality.lab.measure import measuring
from locality.lab.napi_threads import why_no_napi_threads
from locality.lab.network import SERVER_ADDRESS
from locality.lab.nginx import run_nginx
from locality.lab.wires import WIRES, why_no_tap
from tests.live.helpers.traffic import EMULATED
from tests.live.helpers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from locality.cbpf import Program
    from locality.lab.experiment import Lab

pytestmark = pytest.mark.live

#: An emulated CPU answers so late that an ACK is sent alone before, by the CPU that receives: what
#: is sent is then local whatever the worker does.
FIGURES = (Figure.ACCEPT, Figure.DELIVERED) if EMULATED else tuple(Figure)


def over(*wires: str) -> pytest.MarkDecorator:
    """Run a test over each of these wires, where this machine can lay it."""
    missing = {"tap": why_no_tap(), "veth-napi": why_no_napi_threads()}
    return pytest.mark.parametrize(
        "wire",
        [
            pytest.param(
                name,
                marks=pytest.mark.skipif(
                    bool(missing.get(name)), reason=f"limitation: {missing.get(name)}"
                ),
            )
            for name in wires
        ],
    )


each_wire = over(*WIRES)
#: Not over a plain veth: the client's CPU receives there.
each_spreading_wire = over("tap", "veth-rps", "veth-napi")

PORT = 8081

# A server that measures itself, without BPF: two threads, pinned to the two CPUs of its
# arguments, each with its own listening socket of one reuseport group. For each connection it
# asks for SO_INCOMING_CPU at once; on SIGTERM it prints how often each pair was seen.
SERVER = f"""
import json, os, signal, socket, sys, threading
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
seen = {{}}
def serve(cpu, listener):
    os.sched_setaffinity(0, [cpu])
    while True:
        connection, _ = listener.accept()
        pair = f"{{cpu}},{{connection.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU)}}"
        seen[pair] = seen.get(pair, 0) + 1
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
        connection.close()
for cpu in map(int, sys.argv[1:]):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("", {PORT}))
    listener.listen(511)
    print(listener.fileno(), flush=True)
    threading.Thread(target=serve, args=(cpu, listener), daemon=True).start()
signal.sigwait([signal.SIGTERM])
print(json.dumps(seen.copy()), flush=True)
os._exit(0)
"""

# What a user's shell runs: a lab under load, until it is killed.
LAB = """
import sys
from locality.lab.experiment import open_lab
with open_lab(wire_name=sys.argv[1]) as lab, lab.load():
    print(lab.server.pid, lab.client.pid, flush=True)
    sys.stdin.read()
"""


@contextmanager
def own_server(lab: Lab, program: Program | None) -> Iterator[dict[tuple[int, int], int]]:
    """Run SERVER on the lab's first two CPUs; fills in (accept CPU, RX CPU): connections."""
    seen: dict[tuple[int, int], int] = {}
    cpus = map(str, lab.cpus[:2])
    with lab.server.start(sys.executable, "-c", SERVER, *cpus) as server:
        until(lambda: len(server.printed().splitlines()) == 2)
        if program:
            attach(server.pid, int(server.printed().split()[0]), program)
        yield seen
        server.end(signal.SIGTERM)
        pairs: dict[str, int] = json.loads(server.printed().splitlines()[-1])
    for pair, count in pairs.items():
        cpu, rxcpu = map(int, pair.split(","))
        seen[cpu, rxcpu] = count


def network_of(pid: int) -> int:
    """The network namespace of a process."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def inhabitants(*networks: int) -> list[int]:
    """Pids of all processes in these network namespaces."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if network_of(int(entry.name)) in networks:
                found.append(int(entry.name))
    return found


# Bug: nginx listens but answers errors, wrk cannot reach it, or a set-up step is missing.
@each_wire
def test_nginx_answers_the_client(wire: str) -> None:
    with open_lab(wire_name=wire) as lab, lab.load() as load:
        time.sleep(0.3)
        result = load.stop()
    assert result.requests > 0
    assert result.errors == {}
    assert result.requests_per_second > 0


# Bug: worker i does not serve index i of the group, or is not on the CPU it should be on, so
# the whole experiment measures something else. Asked of the kernel: affinity, and the sockets
# each worker's epoll waits for.
@pytest.mark.parametrize("reverse", [False, True])
def test_worker_i_serves_socket_i_on_its_cpu(*, reverse: bool) -> None:
    with open_lab() as lab:
        if reverse:
            lab.serve(reverse=True)
        cpus = lab.cpus[::-1] if reverse else lab.cpus
        fds = lab.nginx.listen_fds()
        assert len(fds) == len(cpus)
        workers = lab.nginx.workers()
        assert [os.sched_getaffinity(pid) for pid in workers] == [{cpu} for cpu in cpus]
        for pid, fd in zip(workers, fds, strict=True):
            until(partial(polls_any, pid, fds))
            assert polled(pid) & set(fds) == {fd}


def polled(pid: int) -> set[int]:
    """The fds a process's epoll instances wait for."""
    found: set[int] = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        found.update(map(int, re.findall(r"^tfd:\s*(\d+)", info.read_text(), re.MULTILINE)))
    return found


def polls_any(pid: int, fds: Iterable[int]) -> bool:
    """Whether they wait for one of these."""
    return not polled(pid).isdisjoint(fds)


# Bug: a restart leaves the old nginx running beside the new one, in the same group.
def test_a_restart_replaces_nginx() -> None:
    with open_lab() as lab:
        old = (lab.nginx.pid, *lab.nginx.workers())
        lab.serve()
        assert not [pid for pid in old if Path(f"/proc/{pid}").exists()]
        assert len(lab.nginx.listen_fds()) == len(lab.cpus)


# Bugs: RPS is not on, or the taps do not hash flows, and the RX CPU is the client's: one pinned
# client loads one CPU.
@each_spreading_wire
def test_one_pinned_client_is_received_on_both_cpus(wire: str) -> None:
    with open_lab(2, wire) as lab, own_server(lab, None) as seen:
        client = ("taskset", "-c", str(lab.cpus[0]), "wrk", "-t1", "-c16", "-d1s")
        lab.client.run(*client, "-H", "Connection: close", f"http://{SERVER_ADDRESS}:{PORT}/")
    total = sum(seen.values())
    assert total > 200
    for cpu in lab.cpus:
        received = sum(count for (_, rxcpu), count in seen.items() if rxcpu == cpu)
        assert 0.35 <= received / total <= 0.65


# Bug: SYN and ACK are handled on different CPUs, or a program's answer does not reach the
# group: the lab could then not tell right from wrong. SO_INCOMING_CPU is the witness.
@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [("hash", 0.35, 0.65), ("cpu", 0.99, 1), ("wrong map", 0, 0.01)],
)
@each_spreading_wire
def test_the_accepts_are_as_local_as_the_program(
    wire: str, kind: str, lowest: float, highest: float
) -> None:
    with open_lab(2, wire) as lab:
        first, second = lab.cpus
        programs = {
            "hash": None,
            "cpu": cbpf.cpu(2),
            "wrong map": cbpf.table({first: 1, second: 0}),
        }
        url = f"http://{SERVER_ADDRESS}:{PORT}/"
        with own_server(lab, programs[kind]) as seen, run_load(lab.client, url, threads=2) as load:
            time.sleep(1)
            load.stop()
    total = sum(seen.values())
    local = sum(count for (cpu, rxcpu), count in seen.items() if cpu == rxcpu)
    assert total > 200
    assert lowest <= local / total <= highest


# Bug: any part of the experiment does not do what it says: the probes, the sources, the
# program, the order of nginx's workers, the spreading of packets. The project's main claim.
@pytest.mark.chosen
@pytest.mark.attach
@over("tap", "veth-rps")
def test_the_experiment(wire: str) -> None:
    with open_lab(2, wire) as lab, measuring(lab.server, of_server=True) as meter:
        judged = FIGURES if lab.wire.like_card and meter.of_server else (Figure.ACCEPT,)
        # An emulated CPU may need more than a second to the first connection.
        results = list(run(lab, meter.measure, seconds=5 if EMULATED else 1, judged=judged))
    assert [r.phase.name for r in results] == ["before", "after", "reversed", "map", "detach"]
    for result in results:
        seen = result.measurement
        assert result.as_expected, (result.phase.name, seen)
        assert result.load.errors == {}
        # The load runs longer than the measurement and ends with what it has in hand.
        assert 0 < seen.accepts <= result.load.requests + CONNECTIONS
        assert seen.skb.rx.packets > seen.accepts


# Bug: something outlives the lab, however the block is left.
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
@each_wire
def test_nothing_is_left(wire: str, error: type[BaseException] | None) -> None:
    namespaces: tuple[int, ...] = ()
    with suppress(ValueError, KeyboardInterrupt), open_lab(wire_name=wire) as lab, lab.load():
        namespaces = (network_of(lab.server.pid), network_of(lab.client.pid))
        # unshare and its cat; nsenter and its nginx, with workers, or its wrk, or its tap_wire.
        carriers = 2 if lab.wire.process else 0
        assert len(inhabitants(namespaces[0])) == 4 + len(lab.cpus) + carriers
        assert len(inhabitants(namespaces[1])) == 4
        if error:
            raise error
    assert namespaces
    assert inhabitants(*namespaces) == []
    assert not Path("/tmp/nginx").exists()  # noqa: S108 - the lab's is in a /tmp of its own


# Bug: a run that was killed leaves nginx, wrk and namespaces behind; only what the kernel
# does by itself survives SIGKILL.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@each_wire
def test_nothing_is_left_of_a_killed_run(wire: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAB, wire],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as shell:
        assert shell.stdout
        namespaces = [network_of(int(pid)) for pid in shell.stdout.readline().split()]
        assert len(inhabitants(*namespaces)) >= 6
        shell.send_signal(number)
        shell.wait(20)
    until(lambda: inhabitants(*namespaces) == [])


# Bug: the master's death goes unnoticed (the orphaned workers still answer), or the orphans
# outlive the lab.
def test_a_killed_master_is_noticed_and_its_workers_end() -> None:
    namespaces: list[int] = []
    with pytest.raises(LocalityError, match=r"^nginx .*: killed by signal 9$"):
        kill_the_master(namespaces)
    assert len(namespaces) == 2
    assert inhabitants(*namespaces) == []


def kill_the_master(namespaces: list[int]) -> None:
    with open_lab() as lab, lab.load() as load:
        namespaces += network_of(lab.server.pid), network_of(lab.client.pid)
        os.kill(lab.nginx.pid, signal.SIGKILL)
        lab.nginx.process.entry.wait(20)
        time.sleep(0.3)
        assert load.stop().requests > 0


# Bug: a load generator that died is taken for one that got nothing done.
def test_a_killed_load_generator_is_an_error() -> None:
    with open_lab() as lab, lab.load() as load:
        os.kill(load.process.pid, signal.SIGKILL)
        load.process.entry.wait(20)
        with pytest.raises(LocalityError, match=r"^wrk .*: killed by signal 9$"):
            load.stop()


# Bug: an nginx that refuses to start hangs the lab, or its reason is lost.
def test_a_refusal_of_nginx_carries_its_reason() -> None:
    with (
        open_lab() as lab,
        pytest.raises(LocalityError, match=r'^nginx .*"worker_cpu_affinity" supports up to'),
        run_nginx(lab.server, [2000]),
    ):
        pass


# Bug: a refused write to the namespace's /sys or /proc/sys is silent.
def test_a_refused_write_names_the_file() -> None:
    with open_lab() as lab, pytest.raises(LocalityError, match=r"^tee .*rps_cpus: Invalid"):
        lab.server.write("/sys/class/net/eth0/queues/rx-0/rps_cpus", "no mask")


# Bug: names, addresses or ports of one run are in the way of another.
@each_spreading_wire
def test_two_labs_at_once(wire: str) -> None:
    with open_lab(wire_name=wire) as one, open_lab(wire_name=wire) as other:
        assert network_of(one.server.pid) != network_of(other.server.pid)
        with one.load() as load, other.load() as other_load:
            time.sleep(0.3)
            results = load.stop(), other_load.stop()
    assert all(result.requests > 0 and result.errors == {} for result in results)


# Bug: the end of one lab takes parts of another with it.
def test_the_end_of_one_lab_is_not_the_end_of_another() -> None:
    with open_lab() as one:
        with open_lab():
            pass
        with one.load() as load:
            time.sleep(0.3)
            assert load.stop().errors == {}
