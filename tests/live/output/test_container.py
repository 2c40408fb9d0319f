"""In a container: a pid namespace of its own, and no capabilities but those documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.helpers.traffic import HERE, PATIENCE, THERE

pytestmark = [
    pytest.mark.live,
    pytest.mark.attach,
    pytest.mark.chosen,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
]

MANIFEST = Path(__file__).parents[3] / "install/container/daemonset.yaml"

#: The server's two processes, each on a CPU, answer whoever connects; a client keeps asking.
SERVER = f"""
import os, socket
first = socket.create_server(("127.0.0.1", 0), reuse_port=True)
port = first.getsockname()[1]
second = socket.create_server(("127.0.0.1", port), reuse_port=True)
workers = []
for listener, cpu in ((first, {HERE}), (second, {THERE})):
    workers.append(os.fork())
    if not workers[-1]:
        os.sched_setaffinity(0, {{cpu}})
        while True:
            with listener.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(b"x")
first.close(), second.close()
print(port, *workers, flush=True)
while True:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"x")
        client.recv(1)
"""

SCRIPT = """
{python} -c "$1" > "$2/server" &
until [ -s "$2/server" ]; do sleep 0.05; done
read -r port first second < "$2/server"
locality() {{ {python} -m locality "$@"; }}
locality top --port "$port" --by process --json --count 1 > "$2/top"
locality accept --pid "$first" --port "$port" --json --count 20 > "$2/accept"
locality explain --port "$port" --duration 1 --json > "$2/explain"
locality skb --count 1 --json > "$2/skb"
locality udp --count 1 --json > "$2/udp"
locality groups --port "$port" --json > "$2/groups"
echo "$first" "$second"
"""


def granted() -> str:
    """The capabilities that the manifest adds, as setpriv names them."""
    (added,) = re.findall(r"add: \[(.*)\]", MANIFEST.read_text(encoding="utf-8"))
    return ",".join(("-all", *(f"+{name.lower()}" for name in re.findall(r'"(\w+)"', added))))


# Bugs: the documented capabilities are too few; pids are those of the machine, so that --pid sees
# nothing and no process has a name.
def test_all_that_measures_works_in_a_container(tmp_path: Path) -> None:
    chosen = granted()
    command = [
        *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
        *("setpriv", f"--bounding-set={chosen}", f"--inh-caps={chosen}", "--no-new-privs"),
        *("sh", "-ec", SCRIPT.format(python=sys.executable), "sh", SERVER, str(tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())

    def said(name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    (top,) = said("top")
    readers = top["rows"]
    assert isinstance(readers, list)
    assert {first, second} <= {reader["pid"] for reader in readers}
    accepts = said("accept")
    assert len(accepts) == 20
    assert {record["pid"] for record in accepts} == {first}
    assert said("skb")
    assert said("udp")
    (group,) = said("groups")
    assert "accept" in (tmp_path / "explain").read_text()
    assert json.dumps(group).count('"inode"') >= 2
