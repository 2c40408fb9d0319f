"""Which arm of a trial a connection was in."""

from __future__ import annotations

import numpy as np

from locality.accept.batch import ACCEPT
from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.trial.arms import Arms, NoArm
from locality.trial.observation import A, B
from locality.trial.targets import Steered


def member(inode: int, *cpus: int) -> Member:
    return Member(inode, (Worker(inode, inode, "worker", frozenset(cpus)),))


def steered(indexes: dict[int, int], *members: Member, port: int = 80) -> Steered:
    group = Group(members, order_known=True, attached=False, program=None, how="")
    return Steered(FoundGroup("tcp", "0.0.0.0", port, 1, 1, 3, group), indexes)


def accepts(*rxcpus: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    records = np.zeros(len(rxcpus), ACCEPT)
    records["rxcpu"] = rxcpus
    return records


# Bugs: the arm is by the accepting CPU and not by the socket; a group's map is used for another
# group; an RX CPU of -1 is the last CPU.
def test_the_arm_is_told_by_the_socket_and_the_rx_cpu() -> None:
    first = steered({0: 0, 1: 1}, member(10, 0), member(11, 1), member(12, 2))
    second = steered({0: 1, 1: 0}, member(20, 1), member(21, 0), port=81)
    arms = Arms([first, second], 4)
    inodes = np.array([10, 10, 11, 12, 20, 20, 21, 10, 10, 99, 0])
    rxcpus = accepts(0, 1, 1, 0, 0, 1, 0, -1, 3, 0, 0)
    assert arms.of(rxcpus, inodes).tolist() == [
        *(B, A, B, A),
        *(A, B, B),
        *(NoArm.NOT_MAPPED, NoArm.NOT_MAPPED),
        *(NoArm.OTHER_SOCKET, NoArm.OTHER_SOCKET),
    ]


# Bug: a worker on the same CPU counts as another place, and dilutes the effect.
def test_another_worker_on_the_same_cpu_is_no_other_arm() -> None:
    arms = Arms([steered({0: 0, 1: 2}, member(10, 0), member(11, 0), member(12, 1))], 2)
    found = arms.of(accepts(0, 0, 0, 1), np.array([10, 11, 12, 11]))
    assert found.tolist() == [B, NoArm.SAME_PLACE, A, A]
