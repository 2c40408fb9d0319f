"""Run in the system that is tested: 23 connections to itself, and how many the exporter counted."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

CONNECTIONS = 23

with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    ready = Path(f"/run/ready-{os.getpid()}")
    asked = ["exporter", "--listen", "127.0.0.1:0", "--port", str(port), "--ready-file", str(ready)]
    accepted, said = 0, ""
    with subprocess.Popen(
        [*sys.argv[1:], *asked], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as exporter:
        while not ready.exists() and exporter.poll() is None:
            time.sleep(0.01)
        if ready.exists():
            for _ in range(CONNECTIONS):
                with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
                    pass
            assert exporter.stderr is not None
            while "listening on" not in said:
                said += (line := exporter.stderr.readline())
                assert line, said
            where = said.split()[-1]
            with urlopen(f"http://{where}/metrics") as answer:
                text = answer.read().decode()
            series = rf'^locality_accepts_total{{[^}}]*port="{port}"[^}}]*}} (\S+)$'
            accepted = int(sum(map(float, re.findall(series, text, re.MULTILINE))))
            exporter.send_signal(signal.SIGTERM)
        said += exporter.communicate(timeout=60)[1]
error = said if exporter.returncode or not accepted else ""
sys.stdout.write(json.dumps({"code": exporter.returncode, "accepted": accepted, "error": error}))
