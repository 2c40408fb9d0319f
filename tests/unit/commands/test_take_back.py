"""Taking back what attach-cbpf changed."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from locality import cbpf
from locality.commands.take_back import restore_incoming_cpus, take_back
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.reuseport.target import Target

#: A process that there cannot be.
NOBODY = int(Path("/proc/sys/kernel/pid_max").read_text()) + 1


def group(inode: int) -> Group:
    return Group((Member(inode),), order_known=True, attached=False, program=None, how="")


# Bugs: the server of one group has gone, and the groups behind it keep what made them worse; nobody
# is told; it is said that all was taken back.
def test_one_group_that_cannot_be_reached_keeps_no_other_from_it() -> None:
    given = [
        (Target(NOBODY, 3, "tcp", address, True, True, False, group(1), {}), cbpf.cpu(2))
        for address in ("127.0.0.1:80", "127.0.0.1:81")
    ]
    found = [*take_back(given)]
    assert [line.partition(": not taken back: ")[0] for line, _ in found] == [
        "127.0.0.1:80",
        "127.0.0.1:81",
    ]
    assert not any(as_it_was for _, as_it_was in found)


# Bug: the sockets that are left after a reload keep what made it worse, for others were closed.
def test_one_socket_that_has_gone_keeps_no_other_from_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, 0)
        members = Member(os.fstat(ours.fileno()).st_ino), Member(2**62)
        two = FoundGroup("tcp", "127.0.0.1", 80, 1, NOBODY, 3, replace(group(1), members=members))
        (found,) = restore_incoming_cpus([two])
        assert found.as_it_was, found.line
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU) < 0


# Bug: of sockets that have all gone it is said that they are as they were, or nobody is told.
def test_sockets_that_have_gone() -> None:
    groups = [
        FoundGroup("tcp", "127.0.0.1", port, 1, NOBODY, 3, group(2**62 + port)) for port in (80, 81)
    ]
    found = [*restore_incoming_cpus(groups)]
    assert len(found) == 2
    assert all("not taken back: socket" in line for line, _ in found)
    assert not any(as_it_was for _, as_it_was in found)
