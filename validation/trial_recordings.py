"""Make the recordings of trials in notebooks/data anew: nginx in the lab. Root, three minutes.

    python -m validation.trial_recordings [blocks|connection]

Keeps what was there if a trial fails.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from locality.lab.experiment import URL, open_lab
from locality.lab.load import run_load
from locality.lab.nginx import PORT

DATA = Path(__file__).parents[1] / "notebooks/data"
#: A connection carries so many requests: those of some seconds are then less than a megabyte.
REQUESTS = 20
#: The lab's load fills the machine, so that it waits now and then.
COMMON = ("--port", str(PORT), "--seed", "2017", "--max-wait", "1000")
BLOCKS = "--switch attach --block 0.8 --washout 0.25 --pairs 36 --aa 20"
CONNECTIONS = "--duration 6 --aa 2"
TRIALS = {"blocks": BLOCKS.split(), "connection": CONNECTIONS.split()}


def record(name: str) -> None:
    """Run one of the trials, and keep its recording."""
    with TemporaryDirectory() as directory, open_lab(wire_name="tap") as lab:
        lab.serve(requests=REQUESTS)
        new = Path(directory, "trial.arrows")
        with run_load(lab.client, URL, len(lab.cpus), keep_alive=True):
            command = [sys.executable, "-P", "-m", "locality", "trial", *COMMON, *TRIALS[name]]
            command += ["--netns", str(lab.server.pid), "--record", str(new)]
            subprocess.run(command, check=True)
        target = DATA / f"trial-{name}.arrows"
        target.write_bytes(new.read_bytes())
        target.chmod(0o644)
        print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    for asked in sys.argv[1:] or TRIALS:
        record(asked)
