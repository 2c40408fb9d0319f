"""A server for the tests of `attach-cbpf --spill`: listeners of one group that are told what to do.

Each line on standard input is a command and numbers; the answer is a line of JSON:
the descriptors of all listeners with their inodes, -1 and 0 for those that are closed.

    accept I N   accept N connections of listener I and close them
    stop I       close listener I
    start        open one more listener of the group
"""

from __future__ import annotations

import json
import os
import socket
import sys


def say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(count: int, backlog: int, cpus: list[int]) -> None:
    os.sched_setaffinity(0, cpus)
    listeners = [socket.create_server(("127.0.0.1", 0), reuse_port=True, backlog=backlog)]
    address = listeners[0].getsockname()

    def start() -> None:
        listeners.append(socket.create_server(address, reuse_port=True, backlog=backlog))

    def sockets() -> list[tuple[int, int]]:
        fds = [one.fileno() for one in listeners]
        return [(fd, os.fstat(fd).st_ino if fd >= 0 else 0) for fd in fds]

    for _ in range(count - 1):
        start()
    say([address[1], sockets()])
    for line in sys.stdin:
        command, *numbers = line.split()
        if command == "accept":
            listener, times = listeners[int(numbers[0])], int(numbers[1])
            for _ in range(times):
                listener.accept()[0].close()
        elif command == "stop":
            listeners[int(numbers[0])].close()
        elif command == "start":
            start()
        say(sockets())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [int(cpu) for cpu in sys.argv[3].split(",")])
