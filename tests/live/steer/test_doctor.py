"""The doctor in a network namespace: what it finds on a veth, changes, and puts back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from locality import cbpf
from locality.attach_cbpf import attach
from locality.lab.experiment import open_lab
from locality.lab.namespaces import namespace
from locality.lab.nginx import PORT
from locality.machine import topology
from locality.machine.topology import format_cpu_mask
from locality.reuseport import survey as groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locality.lab.namespaces import Namespace

pytestmark = pytest.mark.live

# Every file of the steering of this namespace's devices, and every sysctl of its network.
SNAPSHOT = """
import json, pathlib
files = {}
for top in (*pathlib.Path("/sys/class/net").glob("*/queues"), pathlib.Path("/proc/sys/net")):
    for path in sorted(top.rglob("*")):
        if path.is_file():
            try:
                files[str(path)] = path.read_bytes().hex()
            except OSError as error:
                files[str(path)] = error.strerror
print(json.dumps(files))
"""

RX0 = "/sys/class/net/veth0/queues/rx-0/rps_cpus"
UNDO = "/tmp/undo.json"  # noqa: S108 - a namespace has a /tmp of its own
ALL_CPUS = format_cpu_mask(topology.read().online)


@pytest.fixture
def server() -> Iterator[Namespace]:
    """A namespace with one end of a veth pair, of two queues; RPS is off."""
    with namespace() as here, namespace() as there:
        queues = ("numrxqueues", "2", "numtxqueues", "2")
        peer = ("peer", "name", "veth0", *queues, "netns", str(there.pid))
        here.run("ip", "link", "add", "name", "veth0", *queues, "type", "veth", *peer)
        for end in (here, there):
            end.run("ip", "link", "set", "veth0", "up")
        yield here


def locality(where: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a namespace; its exit status is for the test to judge."""
    enter = ("nsenter", "--target", str(where.pid), "--net", "--mount", "--")
    command = [*enter, sys.executable, "-m", "locality", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def snapshot(where: Namespace) -> dict[str, str]:
    """The content of every file that counts, by path."""
    files: dict[str, str] = json.loads(where.run(sys.executable, "-c", SNAPSHOT))
    assert RX0 in files
    assert "/proc/sys/net/ipv4/ip_forward" in files
    return files


# Bugs: a fix that is printed and not made, or another file than the one named is written; an
# undo that leaves a mask in another spelling, or a file it did not record.
def test_fix_then_undo_leaves_every_byte_as_before(server: Namespace) -> None:
    before = snapshot(server)
    found = locality(server, "doctor")
    assert "may cost locality: veth0 RPS" in found.stdout, found.stdout + found.stderr
    done = locality(server, "doctor", "--fix", "--yes", "--undo-file", UNDO)
    assert done.returncode == 0, done.stderr
    changed = snapshot(server)
    assert {path for path in before if before[path] != changed[path]} == {RX0}
    assert server.run("stat", "--format=%a", UNDO) == "600\n"
    assert "veth0 RPS: spreads packets over CPUs" in locality(server, "doctor").stdout
    back = locality(server, "undo", UNDO)
    assert (back.returncode, back.stderr) == (0, "locality: 1 put back\n")
    assert snapshot(server) == before
    again = locality(server, "undo", UNDO)
    assert "everything is as it was already" in again.stderr


# Bug: half an RFS set-up and a mask on the wrong queue, which veth ignores, pass for a set-up.
def test_a_mask_on_a_queue_that_does_not_count_is_found(server: Namespace) -> None:
    server.write(RX0.replace("rx-0", "rx-1"), "3")
    found = locality(server, "doctor")
    assert found.returncode == 3
    assert "costs locality: veth0 RPS" in found.stdout
    assert f"fix   echo {ALL_CPUS} > {RX0}" in found.stdout


# Bugs: --fix alone changes something; the plan names a device that was not asked for.
def test_the_plan_changes_nothing(server: Namespace) -> None:
    before = snapshot(server)
    plan = locality(server, "doctor", "--fix")
    assert plan.returncode == 0
    assert f"echo {ALL_CPUS} > {RX0}" in plan.stdout
    assert f"echo 0 > {RX0}" in plan.stdout
    assert snapshot(server) == before


# Bug: what is written in one namespace is put back in another, whose devices have the same names.
def test_undo_refuses_another_namespace(server: Namespace) -> None:
    locality(server, "doctor", "--fix", "--yes", "--undo-file", UNDO)
    after = snapshot(server)
    with namespace() as elsewhere:
        elsewhere.write(UNDO, server.run("cat", UNDO))
        refused = locality(elsewhere, "undo", UNDO)
    assert refused.returncode == 1
    assert "network namespace" in refused.stderr
    assert snapshot(server) == after


# Bug: the device went and came again under its name, and gets what its predecessor had.
def test_undo_leaves_a_new_device_of_that_name_alone(server: Namespace) -> None:
    locality(server, "doctor", "--fix", "--yes", "--undo-file", UNDO)
    server.run("ip", "link", "delete", "veth0")
    server.run("ip", "link", "add", "name", "veth0", "type", "veth", "peer", "name", "veth1")
    server.write(RX0, "2")
    refused = locality(server, "undo", UNDO)
    assert refused.returncode == 1
    assert "not changed" in refused.stderr
    assert server.run("cat", RX0).strip() == "2"


# Accepts 40 connections and prints how many of them each CPU received (SO_INCOMING_CPU).
ACCEPT = """
import collections, socket, sys
with socket.create_server((sys.argv[1], 9317), backlog=64) as server:
    print("ready", flush=True)
    cpus = collections.Counter()
    for _ in range(40):
        connection, _ = server.accept()
        connection.recv(1)
        cpus[connection.getsockopt(socket.SOL_SOCKET, 49)] += 1
        connection.close()
print(*sorted(cpus))
"""
CONNECT = """
import os, socket, sys
os.sched_setaffinity(0, {0})
for _ in range(40):
    with socket.create_connection((sys.argv[1], 9317)) as client:
        client.send(b"x")
"""


def received_on(server: Namespace, client: Namespace, address: str) -> set[int]:
    """The CPUs that receive what a client on CPU 0 sends."""
    enter = ("nsenter", "--target", str(server.pid), "--net", "--mount", "--")
    accepting = subprocess.Popen(
        [*enter, sys.executable, "-c", ACCEPT, address], stdout=subprocess.PIPE, text=True
    )
    assert accepting.stdout is not None
    assert accepting.stdout.readline() == "ready\n"
    client.run(sys.executable, "-c", CONNECT, address)
    output, _ = accepting.communicate(timeout=30)
    return set(map(int, output.split()))


def set_rps(where: Namespace, device: str, mask: str) -> None:
    where.write(RX0.replace("veth0", device), mask)


# Bugs: the mask of a macvlan, which the kernel does not look at, is set and praised; that of a
# bridge, which it does look at, is not.
@pytest.mark.parametrize(("kind", "counts"), [("macvlan", False), ("bridge", True)])
def test_whose_rps_counts(kind: str, counts: bool) -> None:  # noqa: FBT001 - a case
    if 1 not in topology.read().online:
        pytest.skip("limitation: one CPU")
    with namespace() as server, namespace() as client:
        client.run("ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth0")
        client.run("ip", "link", "set", "veth0", "netns", str(server.pid))
        client.run("ip", "address", "add", "10.66.7.1/24", "dev", "veth1")
        client.run("ip", "link", "set", "veth1", "up")
        server.run("ip", "link", "set", "veth0", "up")
        if kind == "macvlan":
            server.run("ip", "link", "add", "up0", "link", "veth0", "type", "macvlan")
        else:
            server.run("ip", "link", "add", "up0", "type", "bridge")
            server.run("ip", "link", "set", "veth0", "master", "up0")
        server.run("ip", "address", "add", "10.66.7.2/24", "dev", "up0")
        server.run("ip", "link", "set", "up0", "up")
        assert received_on(server, client, "10.66.7.2") == {0}
        set_rps(server, "up0", "2")
        assert received_on(server, client, "10.66.7.2") == ({1} if counts else {0})
        said = locality(server, "doctor", "--dev", "up0").stdout
        if counts:
            assert "ok  up0 RPS: moves packets for this host to CPU 1" in said
        else:
            assert "may cost locality: up0 RPS\n  set (CPU 1), and does nothing" in said
            assert "the RPS of veth0 counts" in said
            assert "up0/queues/rx-0/rps_cpus\n" not in said.partition("fix ")[2]
        set_rps(server, "up0", "0")
        set_rps(server, "veth0", "2")
        assert received_on(server, client, "10.66.7.2") == {1}


# Bug: in a container, whose /sys is read-only, changes are reported that were not made.
def test_a_read_only_sysfs(server: Namespace) -> None:
    server.run("mount", "-o", "remount,bind,ro", "/sys")
    refused = locality(server, "doctor", "--fix", "--yes", "--undo-file", UNDO)
    assert refused.returncode == 1
    assert f"not changed: echo {ALL_CPUS} > {RX0}: Read-only file system" in refused.stderr
    assert "0 changed" in refused.stderr
    back = locality(server, "undo", UNDO)
    assert back.stderr == "locality: everything is as it was already\n"


# Bug: a sysfs of another namespace is read as if it were this one's (unshare --net alone).
def test_sysfs_of_another_namespace_is_refused() -> None:
    command = ["unshare", "--net", sys.executable, "-m", "locality", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # lo is 1 everywhere: where there is only lo, nothing is mistaken for another thing.
    assert done.returncode == 0, done.stderr
    made = "ip link add veth0 type veth peer name veth1"
    doctor = f"{made} && exec {sys.executable} -m locality doctor"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", doctor], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "another network namespace" in done.stderr


# Bug: without network devices, or for an ordinary user, the command ends in a traceback.
def test_only_loopback_and_no_privileges() -> None:
    with namespace() as lonely:
        plain = locality(lonely, "doctor")
        assert plain.returncode == 0, plain.stderr
        assert "may cost locality: lo RPS" in plain.stdout
        assert "no network card here" in plain.stdout
        enter = ("nsenter", "--target", str(lonely.pid), "--net", "--mount", "--")
        nobody = ("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all")
        command = [*enter, *nobody, "--bounding-set=-all", sys.executable, "-m", "locality"]
        done = subprocess.run([*command, "doctor"], capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stdout.endswith("1 finding, 1 can be fixed: locality doctor --fix\n")


# Bugs: the group of a real nginx is missed, or is one of another namespace; a program that sends
# every connection to the wrong worker passes for one that fits.
def test_the_group_of_a_real_server() -> None:
    with open_lab() as lab:
        before = locality(lab.server, "doctor", "--port", f"{PORT}")
        assert before.returncode == 3, before.stderr
        assert f"costs locality: tcp 0.0.0.0:{PORT} choice\n  a hash chooses" in before.stdout
        nginx = lab.nginx.process.pid
        attach(nginx, listening_fd(nginx), cbpf.BUILDERS["cpu"](len(lab.cpus)))
        after = locality(lab.server, "doctor", "--port", f"{PORT}")
        assert after.returncode == 0, after.stdout
        assert "chooses the worker on the RX CPU" in after.stdout
        lab.serve(reverse=True)
        nginx = lab.nginx.process.pid
        attach(nginx, listening_fd(nginx), cbpf.BUILDERS["cpu"](len(lab.cpus)))
        wrong = locality(lab.server, "doctor", "--port", f"{PORT}")
        assert wrong.returncode == 3, wrong.stdout
        assert "goes to workers elsewhere" in wrong.stdout


def listening_fd(pid: int) -> int:
    """A socket of the server's group."""
    (found,) = groups.find(ports=[PORT], pids=[pid])
    assert found.fd is not None
    assert found.pid == pid
    return found.fd


# Bug: of many devices only those are listed that fit into the kernel's first answer.
def test_all_of_many_devices_are_listed(server: Namespace) -> None:
    pairs = 40
    script = "".join(f"link add many{number} type veth\n" for number in range(pairs))
    server.run("ip", "-batch", "-", stdin=script)
    program = (
        "import json, socket; from locality.machine.ethtool import read_links; "
        "print(json.dumps([sorted((link.index, name) for name, link in read_links().items()), "
        "sorted(socket.if_nameindex())]))"
    )
    found, expected = json.loads(server.run(sys.executable, "-c", program))
    assert len(found) > 2 * pairs
    assert found == expected
