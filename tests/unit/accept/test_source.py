"""What the probe is told to look for."""

from __future__ import annotations

from pathlib import Path

import pytest

from locality.accept.source import Filter
from locality.bpf.object import Object
from locality.errors import LocalityError
from locality.filter import MAX_CHOICES
from locality.machine import pid_namespace
from locality.machine.cgroups import Cgroup


# No filter must be the probe's own idea of no filter: 0 is a CPU.
def test_everything() -> None:
    assert Filter().rodata() == pid_namespace.rodata() | {
        "only_cpu": -1,
        "only_family": 0,
        "only_comm": b"",
        "pid_count": 0,
        "only_pids": (),
        "port_count": 0,
        "only_ports": (),
        "only_netns": 0,
        "only_cgroup": 0,
    }
    assert Filter(cpu=0).rodata()["only_cpu"] == 0
    assert str(Filter()) == "everything"


# The kernel keeps 15 bytes of a name. Compared with more, a filter matches no thread at all,
# and bytes are what counts, not characters.
@pytest.mark.parametrize(
    ("comm", "kept"),
    [
        ("nginx", b"nginx"),
        ("fifteen-letters", b"fifteen-letters"),
        ("sixteen-letters!", b"sixteen-letters"),
        ("a-much-longer-name-than-that", b"a-much-longer-n"),
        ("ä" * 9, "ä".encode() * 7 + b"\xc3"),
    ],
)
def test_comm_is_cut_as_the_kernel_cuts_it(comm: str, kept: bytes) -> None:
    assert Filter(comm=comm).rodata()["only_comm"] == kept


# The probe has room for so many; what is beyond must not be dropped in silence.
def test_limits() -> None:
    many = tuple(range(1, MAX_CHOICES + 1))
    assert Filter(pids=many).rodata()["pid_count"] == MAX_CHOICES
    assert Filter(ports=many).rodata()["only_ports"] == many
    for name in ("pids", "ports"):
        with pytest.raises(LocalityError, match=f"65 {name} given, 64 can") as error:
            Filter(**{name: (*many, 65)}).rodata()  # type: ignore[arg-type]
        assert error.value.exit_code == 2


# As many as allowed must fit into the compiled probe as well: its arrays, and the widest
# pid and port there are.
def test_the_probe_has_that_much_room() -> None:
    pids = tuple(range(2**22 - MAX_CHOICES, 2**22))
    ports = tuple(range(2**16 - MAX_CHOICES, 2**16))
    wanted = Filter("sixteen-letters!", pids, ports, cpu=8191, family=6)
    Object.open("accept_cpu", wanted.rodata()).close()


# The header of the output repeats the filter: a filter that is not named there is a surprise.
def test_description() -> None:
    wanted = Filter("nginx", (1, 2), (80, 443), cpu=0, family=4)
    assert str(wanted) == "comm nginx, pid 1, pid 2, port 80, port 443, CPU 0, IPv4"
    web = Cgroup("/web.slice", 7, Path("/sys/fs/cgroup/web.slice"))
    assert str(Filter(netns=4026531840, cgroup=web)) == "netns 4026531840, cgroup /web.slice"
    assert Filter(netns=4026531840, cgroup=web).rodata()["only_cgroup"] == 7
