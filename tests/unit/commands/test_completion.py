"""What Tab offers: commands, options, and names of what is on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

LOCALITY = [sys.executable, "-m", "locality"]


def offered(line: str) -> list[str]:
    """The words for the last word of a command line, as bash is told them."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_LOCALITY_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        LOCALITY, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert not done.stderr
    return [one.partition(",")[2] for one in done.stdout.splitlines()]


# Bug: Tab shows the help text, or nothing.
def test_commands_and_options() -> None:
    assert offered("locality ac") == ["accept"]
    assert "--netns" in offered("locality accept --n")
    assert offered("locality accept --format j") == ["json"]


# Bugs: names of another command's rungs; a device that is not there.
def test_names_of_this_machine() -> None:
    assert offered("locality accept --rung k") == ["kprobe"]
    assert "raw-tracepoint" in offered("locality skb --rung ")
    devices = [name for _, name in socket.if_nameindex() if name.startswith("l")]
    assert offered("locality skb --dev l") == devices
    assert offered("locality trial --switch rps:l") == [f"rps:{name}" for name in devices]
    assert offered("locality attach-cbpf --spill ") == ["auto"]


# Bugs: ports of clients are offered; only TCP's are.
@pytest.mark.parametrize("command", ["accept", "attach-cbpf", "explain"])
def test_ports_that_are_served(command: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_connection(tcp.getsockname()) as client,
    ):
        udp.bind(("127.0.0.1", 0))
        ports = {str(one.getsockname()[1]) for one in (tcp, udp)}
        found = set(offered(f"locality {command} --port "))
        assert ports <= found
        assert str(client.getsockname()[1]) not in found - ports


# Bug: what a shell is to read is no program of that shell.
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts(shell: str) -> None:
    environment = {**os.environ, "_LOCALITY_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        LOCALITY, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"_LOCALITY_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)
