"""A control session: keep-alives and data from one source port, and who reads them.

Two routers that tunnel over UDP send everything from one port to one port: the data, and the
keep-alives by which each knows that the other lives. A session is state that one process
holds, so its keep-alives must reach one socket of the group, and the answers must find back.

Run as a program (``python -m locality.lab.udp_control``) in the client's namespace; it prints
one line of JSON.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.network import CLIENT_ADDRESS, SERVER_ADDRESS
from locality.lab.programs import PYTHON
from locality.lab.udp_forwarder import CONTROL, DATA, PORT
from locality.lab.udp_steering import steering

if TYPE_CHECKING:
    from locality.lab.namespaces import Namespace
    from locality.lab.udp_experiment import UdpLab
    from locality.lab.udp_forwarder import Forwarder

CONTROL_PORT = 9003
"""The source port of the session, of its data too."""
KEEPALIVES = 200
DATA_EACH = 4
"""Data between two keep-alives."""
PAUSE_S = 0.001
CONTROL_STEERINGS = ("hash", "random", "spread", "payload")
PATIENCE_S = 2.0
"""How long to wait for another answer when all is sent."""


@dataclass(frozen=True)
class ControlResult:
    """Where the keep-alives of a session went.

    Attributes:
        steering: How the group was steered; of CONTROL_STEERINGS.
        sent: Keep-alives sent.
        read: How many of them each socket's worker read, in the group's order; None where
            the steering was refused.
        answered: Answers that reached the session.
        refused: Why the steering cannot be used here.
    """

    steering: str
    sent: int
    read: tuple[int, ...] | None
    answered: int
    refused: str = ""

    @property
    def one_socket(self) -> bool:
        """Whether the session works: one worker read every keep-alive, each was answered."""
        return self.read is not None and max(self.read) == self.sent == self.answered


def hold_sessions(lab: UdpLab, sockets: int) -> list[ControlResult]:
    """Hold a session with a group of so many sockets under each of CONTROL_STEERINGS.

    Raises:
        LocalityError: The lab did not last.
    """
    results = []
    with lab.forwarder(sockets) as forwarder:
        for name in CONTROL_STEERINGS:
            with ExitStack() as stack:
                try:
                    stack.enter_context(steering(name, lab.server, forwarder))
                except LocalityError as refusal:
                    results.append(ControlResult(name, 0, None, 0, str(refusal)))
                else:
                    results.append(hold_session(lab.client, forwarder, name))
    return results


def hold_session(client: Namespace, forwarder: Forwarder, steering: str) -> ControlResult:
    """Hold a session with the group as it is steered now.

    Args:
        client: Where the session's other end is.
        forwarder: Its group; nothing else sends to it meanwhile.
        steering: The name for the result.

    Raises:
        LocalityError: The session's program failed.
    """
    before = forwarder.rows["control"].copy()
    argv = (*PYTHON, "locality.lab.udp_control")
    said = json.loads(client.run(*argv, own_mounts=False))
    deadline = time.monotonic() + PATIENCE_S
    # A worker counts a keep-alive a moment after it has answered it.
    while (forwarder.rows["control"] - before).sum() < said["sent"]:
        if time.monotonic() > deadline:
            break
        time.sleep(PAUSE_S)
    read = tuple(map(int, forwarder.rows["control"] - before))
    return ControlResult(steering, int(said["sent"]), read, int(said["answered"]))


def main() -> None:
    """Hold a session and print what came of it."""
    session = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    session.bind((CLIENT_ADDRESS, CONTROL_PORT))
    session.connect((SERVER_ADDRESS, PORT))
    data = bytes([DATA]) + bytes(100)
    answers = 0
    for number in range(KEEPALIVES):
        # A worker writes its own number into the two bytes after the first.
        session.send(bytes([CONTROL, 0, 0]) + number.to_bytes(4, "big"))
        for _ in range(DATA_EACH):
            session.send(data)
        time.sleep(PAUSE_S)
        answers += _answers(session)
    last = time.monotonic()
    while answers < KEEPALIVES and time.monotonic() - last < PATIENCE_S:
        time.sleep(PAUSE_S)
        if more := _answers(session):
            answers, last = answers + more, time.monotonic()
    print(json.dumps({"sent": KEEPALIVES, "answered": answers}))  # noqa: T201


def _answers(session: socket.socket) -> int:
    """The answers that are there."""
    count = 0
    while True:
        try:
            count += session.recv(2048, socket.MSG_DONTWAIT)[0] == CONTROL
        except BlockingIOError:
            return count


if __name__ == "__main__":
    main()
