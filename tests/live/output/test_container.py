"""In a container: a pid namespace of its own, and no capabilities but those documented.

Each command has only those that `locality check` and docs/reference/privileges.md say it needs;
the manifest of the container grants them all.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from locality.machine.capabilities import NEEDS
from tests.live.helpers.traffic import HERE, PATIENCE, THERE

pytestmark = [
    pytest.mark.live,
    pytest.mark.attach,
    pytest.mark.chosen,
    pytest.mark.skipif(HERE == THERE, reason="limitation: one CPU"),
]

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "install/container/daemonset.yaml"

#: The server's two processes, each on a CPU and of another user than locality, answer whoever
#: connects; a client keeps asking.
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
        os.setuid(65534)
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

#: With `limited NAME`, locality has the capabilities that are documented for this name.
SCRIPT = """
{python} -c "$1" > "$2/server" &
until [ -s "$2/server" ]; do sleep 0.05; done
read -r port first second < "$2/server"
limited() {{
    case $1 in
{cases}
    esac
    shift
    setpriv --bounding-set="$chosen" --inh-caps="$chosen" --no-new-privs \\
        {python} -m locality "$@"
}}
limited top top --port "$port" --by process --json --count 1 > "$2/top"
limited cost cost --port "$port" --by process --json --count 1 > "$2/cost"
limited accept accept --pid "$first" --port "$port" --json --count 20 > "$2/accept"
limited connections connections --port "$port" --json --count 5 > "$2/connections"
limited explain explain --port "$port" --duration 1 --json > "$2/explain"
limited skb skb --count 1 --json > "$2/skb"
limited udp udp --count 1 --json > "$2/udp"
limited groups groups --port "$port" --json > "$2/groups"
limited doctor doctor --json > "$2/doctor" || [ $? = 3 ]
limited exporter exporter --port "$port" --textfile "$2/metrics.prom" --interval 0.5 --duration 2
limited attach-cbpf attach-cbpf --port "$port" --map auto >> "$2/attach"
limited attach-cbpf attach-cbpf --port "$port" --detach >> "$2/attach"
limited "attach --spill" attach-cbpf --port "$port" --map auto --spill 4 >> "$2/attach"
limited attach-cbpf attach-cbpf --port "$port" --detach >> "$2/attach"
limited trial trial --port "$port" --duration 1 --aa 0 --max-wait 1000000 \\
    --max-imbalance 1000000 --max-overflows 1000000 --max-drops 1000000 \\
    --undo-file "$2/undo" --json > "$2/trial"
echo "$first" "$second"
"""

#: So long may all of them take together, each with a start of Python, on a busy machine; seconds.
LONG = 3 * PATIENCE
#: What no container of ours may do.
NOT_HERE = {"spread", "see --spill"}


def cases() -> str:
    """What chooses capabilities by a command's name, as setpriv names them."""
    (added,) = re.findall(r"add: \[(.*)\]", MANIFEST.read_text(encoding="utf-8"))
    names = re.findall(r'"(\w+)"', added)
    assert f"--cap-add {','.join(names)} " in (ROOT / "docs/guides/install.md").read_text()
    granted = {f"CAP_{name}" for name in names}
    lines = []
    for command, needs in NEEDS.items():
        if command not in NOT_HERE:
            assert granted >= {*needs}, command
            words = ",".join(("-all", *(f"+{name[4:].lower()}" for name in needs)))
            lines.append(f'        "{command}") chosen={words} ;;')
    return "\n".join(lines)


# Bugs: the documented capabilities are too few; pids are those of the machine, so that --pid sees
# nothing and no process has a name.
def test_all_that_measures_works_in_a_container(tmp_path: Path) -> None:
    script = SCRIPT.format(python=sys.executable, cases=cases())
    command = [
        *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
        *("sh", "-euc", script, "sh", SERVER, str(tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())

    def said(name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    for kind in ("top", "cost"):
        (seen,) = said(kind)
        readers = seen["rows"]
        assert isinstance(readers, list)
        assert {first, second} <= {reader["pid"] for reader in readers}, kind
    accepts = said("accept")
    assert len(accepts) == 20
    assert {record["pid"] for record in accepts} == {first}
    assert {record["pid"] for record in said("connections")} <= {first, second}
    assert said("skb")
    assert said("udp")
    (group,) = said("groups")
    assert "accept" in (tmp_path / "explain").read_text()
    assert json.dumps(group).count('"inode"') >= 2
    assert (tmp_path / "attach").read_text().count("=0\n") >= 2
    assert 'locality_reads_total{distance="cpu",port="' in (tmp_path / "metrics.prom").read_text()
    assert said("trial")
