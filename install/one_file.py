"""Make one file of locality and what it needs to measure: copy it to a machine and run it.

python -m install.one_file WHEEL FILE         # make zipapp

It is a zipapp of shiv's, and needs the version of Python that made it, and libbpf. At its first
start it unpacks itself into ~/.shiv. Recordings and reports need more packages than it has.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

#: What measures, explains and acts, with what these need: see the guide on installing.
LEAN = ("click", "numpy", "rich", "prometheus_client")


def build(wheel: Path, target: Path) -> None:
    """Make the file.

    Args:
        wheel: locality.
        target: Where it goes.
    """
    with tempfile.TemporaryDirectory() as directory:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", directory]
        subprocess.run([*pip, *LEAN], check=True)
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        shebang = f"/usr/bin/env -S python3.{sys.version_info.minor} -I"
        command = ["--console-script", "locality", "--python", shebang, "--compressed"]
        subprocess.run(
            [
                *(sys.executable, "-m", "shiv.cli", "--site-packages", directory),
                *command,
                *("--output-file", str(target)),
            ],
            check=True,
        )


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
