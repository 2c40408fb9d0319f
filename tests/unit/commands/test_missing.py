"""Commands where a package is not installed, or cannot be loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from locality.commands.missing import import_failed
from tests.unit.recordings import accepts

ROOT = Path(__file__).parents[3]
SYSTEM = "/usr/bin/python3"
#: Debian's Python, for which only its own packages are installed.
MANAGED = Path("/usr/bin/apt-get").exists() and any(
    Path("/usr/lib").glob("python3*/EXTERNALLY-MANAGED")
)
#: How to install for it what Debian does not have.
IN_ENVIRONMENT = (
    f"{SYSTEM} -m venv --system-site-packages /opt/locality; "
    "/opt/locality/bin/python -m pip install --ignore-installed pyarrow numpy; "
    "/opt/locality/bin/python -I -m locality"
)
PATIENCE = 60
WITHOUT = """
import sys
missing = sys.argv.pop(1)
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from locality.__main__ import main
main()
"""


# Bug: a command that needs a package which is not installed ends in a traceback.
@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("numpy", "accept --duration 0.1"),
        ("numpy", "skb --duration 0.1"),
        ("numpy", "udp --duration 0.1"),
        ("numpy", "groups"),
        ("numpy", "check"),
        ("numpy", "spread --dev lo --port 1 --duration 0.1"),
        ("numpy", "explain --port 1"),
        ("numpy", "attach-cbpf --port 1 --map auto"),
        ("numpy", "doctor"),
        ("pyarrow", "info {recording}"),
        ("pyarrow", "replay {recording}"),
        ("pyarrow", "export {recording} {out}.csv"),
        ("pyarrow", "report {recording} -o {out}.html"),
        ("matplotlib", "report {recording} -o {out}.html"),
        ("rich", "demo"),
        ("rich", "lab udp"),
        ("prometheus_client", "exporter --duration 0.1"),
        ("pyarrow", "export {recording} --dataset {out}"),
        ("pyarrow", "fleet {out}"),
    ],
)
def test_a_missing_package_is_named(package: str, arguments: str, tmp_path: Path) -> None:
    recording = accepts(tmp_path / "x.arrows", 5, 0.5)
    words = arguments.format(recording=recording, out=tmp_path / "out").split()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"locality: this needs the Python package {package}, which is not installed: "
        f"{sys.executable} -m pip install {package}"
    )


# Bug: numpy's page of advice hides that a library of it is missing, or found no memory.
def test_the_first_cause_is_told() -> None:
    error = ImportError("\n\nIMPORTANT: PLEASE READ THIS\n" * 9, name="numpy")
    error.__cause__ = ImportError("libx.so: failed to map segment")
    said = "a Python package (numpy) cannot be loaded: libx.so: failed to map segment"
    assert import_failed(error) == said


# Bug: a module of this program that is not there is called a package to install.
def test_a_fault_of_this_program_stays_one() -> None:
    assert import_failed(ModuleNotFoundError("No module named 'x'", name="locality.x")) is None


# Bug: a user of Debian's package is told to use pip, which refuses to install for Debian's Python.
@pytest.mark.parametrize(
    ("package", "what_installs"),
    [
        ("prometheus_client", "apt-get install python3-prometheus-client"),
        ("pyarrow", IN_ENVIRONMENT),
    ],
)
@pytest.mark.skipif(not MANAGED, reason="no Python of Debian 12 or newer")
def test_debian_has_its_own_way_to_install(package: str, what_installs: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from locality.commands.missing import import_failed\n"
        f"print(import_failed(ModuleNotFoundError(name={package!r})))"
    )
    said = subprocess.check_output([SYSTEM, "-I", "-c", program], text=True)
    assert said.endswith(f" is not installed: {what_installs}\n")
