"""Run in the system that is tested: 23 connections to itself, and what locality saw of them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

CONNECTIONS = 23

with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    ready = Path(f"/run/ready-{os.getpid()}")
    command = [*sys.argv[1:], "accept", "--port", str(port), "--json", "--ready-file", str(ready)]
    begin = time.monotonic()
    with subprocess.Popen(
        [*command, "--count", str(CONNECTIONS)], stdout=subprocess.PIPE, text=True
    ) as seeing:
        while not ready.exists() and seeing.poll() is None:
            time.sleep(0.01)
        started = time.monotonic() - begin
        for _ in range(CONNECTIONS):
            with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
                pass
        printed = seeing.communicate(timeout=60)[0]
records = [json.loads(line) for line in printed.splitlines()]
ours = sum(record["pid"] == os.getpid() and record["lport"] == port for record in records)
sys.stdout.write(json.dumps({"code": seeing.returncode, "ours": ours, "started": started}))
