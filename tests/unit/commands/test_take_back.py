"""Taking back what attach-cbpf changed."""

from __future__ import annotations

from pathlib import Path

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
    targets = [
        Target(NOBODY, 3, "tcp", address, True, True, False, group(1), {})
        for address in ("127.0.0.1:80", "127.0.0.1:81")
    ]
    found = [*take_back(targets)]
    assert [line.partition(": not taken back: ")[0] for line, _ in found] == [
        "127.0.0.1:80",
        "127.0.0.1:81",
    ]
    assert not any(as_it_was for _, as_it_was in found)


# Bug: the same of SO_INCOMING_CPU.
def test_sockets_that_have_gone() -> None:
    groups = [
        FoundGroup("tcp", "127.0.0.1", port, 1, NOBODY, 3, group(2**62 + port)) for port in (80, 81)
    ]
    found = [*restore_incoming_cpus(groups)]
    assert len(found) == 2
    assert all("not taken back: socket" in line for line, _ in found)
    assert not any(as_it_was for _, as_it_was in found)
