"""locality installed on bare Debian systems, in each way that is documented, measures there.

Not part of `make test`: it downloads whole systems. ``make test-packages`` writes the sizes and
times to docs/generated/install.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from install.one_file import LEAN
from locality.cli import COMMANDS
from tests.packages.chroots import AT_HAND, SUITES, Chroot, bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.packages.page import Page

ROOT = Path(__file__).parents[2]
KNOWN_ANSWER = Path(__file__).with_name("known_answer.py")
METRICS = Path(__file__).with_name("known_metrics.py")
#: What makes one file of wheels, and whatever the guide lets users add to a lean installation.
TOOLS = ("shiv", "pip")
#: What measures without an end of its own, for one second.
FOR_A_SECOND = tuple((kind, "--count", "1") for kind in ("top", "cost", "skb", "udp"))
MOST_LEAN_MB = 110
#: Commands that need more than measures, and which package they name where it is not installed.
NAMED = {
    ("accept", "--record", "/x.arrows", "--duration", "0.1"): "pyarrow",
    ("export", "--dataset", "/dataset", "/x.arrows"): "pyarrow",
    ("fleet", "/dataset"): "pyarrow",
    ("info", "/x.arrows"): "pyarrow",
    ("report", "/x.arrows", "-o", "/x.html"): "pyarrow",
}
#: What a Debian package has beside the package of Python, and the manual pages.
FILES = (
    "/usr/lib/systemd/system/locality-exporter.service",
    "/usr/lib/systemd/system/locality-follow@.service",
    "/usr/share/bash-completion/completions/locality",
    "/usr/share/doc/locality/prometheus/locality.dashboard.json",
    "/usr/share/doc/locality/prometheus/locality.rules.yml",
    "/usr/share/fish/vendor_completions.d/locality.fish",
    "/usr/share/zsh/vendor-completions/_locality",
)

NAMES = {suite: name for name, suite in SUITES.items()}


@pytest.fixture(scope="session", params=[*SUITES.values()])
def system(
    request: pytest.FixtureRequest,
    wheel: Path,
    deb: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Chroot]:
    """A bare system with what the package depends on, and wheels for its Python at hand."""
    said = subprocess.check_output(["dpkg-deb", "-f", str(deb), "Depends"], text=True)
    depends = re.findall(r"(?:^|,)\s*([a-z0-9.+-]+)", said)
    root = tmp_path_factory.mktemp(request.param)
    packages = [*depends, "python3-venv"]
    name = NAMES[request.param]
    with bare(name, request.param, packages, "python3-prometheus-client", root) as chroot:
        wheels = root / "wheels"
        version = chroot.must("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
        only = ["--only-binary", ":all:", "--python-version", version.strip()]
        subprocess.run([*pip, *only, *TOOLS, str(wheel)], check=True)
        for file in (wheel, deb):
            (root / file.name).write_bytes(file.read_bytes())
        for program in (KNOWN_ANSWER, METRICS):
            (root / program.name).write_bytes(program.read_bytes())
        yield chroot


def install(system: Chroot, place: str, *what: str) -> float:
    """Make a virtual environment; how long that took, in seconds."""
    begin = time.monotonic()
    system.must("python3", "-m", "venv", place)
    system.must(f"{place}/bin/pip", "install", "-q", "--no-index", "--find-links", "/wheels", *what)
    return time.monotonic() - begin


def packages_of(system: Chroot, place: str) -> float:
    """The megabytes of the packages in a virtual environment, without what makes environments."""
    packages = system.must("sh", "-c", f"ls -d {place}/lib/python3*/site-packages").strip()
    tools = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    names = [name for name in system.must("ls", packages).split() if not name.startswith(tools)]
    return system.megabytes(*(f"{packages}/{name}" for name in names))


def measures(system: Chroot, *command: str) -> float:
    """It sees 23 of 23 connections; the seconds until it was ready."""
    said = json.loads(system.must("python3", "/known_answer.py", *command).splitlines()[-1])
    assert (said["code"], said["ours"]) == (0, 23)
    started: float = said["started"]
    return started


def names_what_is_missing(system: Chroot, *command: str) -> None:
    """Commands that need more than is installed say so in one line, and how to install it."""
    for words, package in NAMED.items():
        done = system.run(*command, *words)
        said = done.stderr.splitlines()[-1]
        assert done.returncode == 1, words
        assert f"needs the Python package {package}, which is not installed: " in said, words
        assert "Traceback" not in done.stderr, words


def exports(system: Chroot, *command: str) -> None:
    """The exporter has counted 23 of 23 connections when it is asked."""
    said = json.loads(system.must("python3", "/known_metrics.py", *command).splitlines()[-1])
    assert said == {"code": 0, "accepted": 23, "error": ""}


def tries(system: Chroot, *command: str) -> None:
    """A trial knows that there is nothing to try; it got as far as that."""
    done = system.run(*command, "trial", "--port", "1")
    assert done.returncode == 1
    assert "a trial needs a TCP listener on port 1" in done.stderr


# Bugs: a dependency is missing or too new for the distribution; a file is not in the package; a
# command has no manual page; pip is named, which does not install for Debian's Python.
def test_the_debian_package(system: Chroot, deb: Path, page: Page) -> None:
    begin = time.monotonic()
    system.must("dpkg", "-i", f"/{deb.name}")
    installing = time.monotonic() - begin
    started = measures(system, "locality")
    size = system.megabytes("/usr/lib/python3/dist-packages", "/usr/bin/locality")
    page.rows.append((system.name, "Debian package", size, installing, started))
    manuals = set(system.must("ls", "/usr/share/man/man1").split())
    assert manuals >= {"locality.1.gz", *(f"locality-{name}.1.gz" for name in COMMANDS)}
    system.must("ls", *FILES)
    for command in ("check", "groups", "doctor"):
        assert "Traceback" not in system.run("locality", command).stderr
    for measuring in FOR_A_SECOND:
        system.must("locality", *measuring)
    tries(system, "locality")
    names_what_is_missing(system, "locality")
    said = system.run("locality", "exporter", "--duration", "0.1").stderr
    assert said.endswith("not installed: apt-get install python3-prometheus-client\n")
    system.must("sh", "-c", f"dpkg -i {AT_HAND}/*.deb")
    exports(system, "locality")
    add_pyarrow(system)
    system.must("dpkg", "-r", "locality")
    assert system.run("ls", "/usr/lib/python3/dist-packages/locality").returncode


def add_pyarrow(system: Chroot) -> None:
    """What the Debian package says of pyarrow is typed, with the wheels that are at hand."""
    said = system.run("locality", "info", "/x.arrows").stderr
    making, installing, running = said.partition("is not installed: ")[2].split("; ")
    system.must(*making.split())
    system.must(*installing.split(), "-q", "--no-index", "--find-links", "/wheels")
    system.must(*running.split(), "accept", "--record", "/x.arrows", "--duration", "0.1")
    assert "accept" in system.must(*running.split(), "info", "/x.arrows")
    system.must("rm", "-rf", "/opt/locality", "/x.arrows")


# Bugs: the same for the wheel with everything; a report cannot be made of what was recorded.
def test_the_whole_wheel(system: Chroot, wheel: Path, page: Page) -> None:
    installing = install(system, "/whole", f"/{wheel.name}")
    started = measures(system, "/whole/bin/locality")
    page.rows.append(
        (system.name, "wheel, whole", packages_of(system, "/whole"), installing, started)
    )
    for kind, *rest in FOR_A_SECOND:
        system.must("/whole/bin/locality", kind, *rest, "--record", f"/{kind}.arrows")
        system.must("/whole/bin/locality", "report", f"/{kind}.arrows", "-o", f"/{kind}.html")
        system.must("/whole/bin/locality", "export", "--dataset", "/dataset", f"/{kind}.arrows")
    tries(system, "/whole/bin/locality")
    exports(system, "/whole/bin/locality")
    done = system.run("/whole/bin/locality", "fleet", "/dataset")
    assert done.stderr.endswith("-m pip install 'ibis-framework[duckdb]'\n")
    system.must("rm", "-r", "/dataset")


# Bug: what only measures asks for what draws and records.
def test_the_lean_wheel(system: Chroot, wheel: Path, page: Page) -> None:
    installing = install(system, "/lean", *LEAN)
    system.must("/lean/bin/pip", "install", "-q", "--no-index", "--no-deps", f"/{wheel.name}")
    started = measures(system, "/lean/bin/locality")
    for command in (*FOR_A_SECOND, ("connections", "--duration", "0.5"), ("groups",), ("check",)):
        system.must("/lean/bin/locality", *command)
    tries(system, "/lean/bin/locality")
    exports(system, "/lean/bin/locality")
    names_what_is_missing(system, "/lean/bin/locality")
    size = packages_of(system, "/lean")
    page.rows.append((system.name, "wheel, lean", size, installing, started))
    assert size <= MOST_LEAN_MB


# Bugs: the one file needs more than Python and libbpf; it has less than the lean wheel.
def test_the_one_file(system: Chroot, wheel: Path, page: Page) -> None:
    install(system, "/tools", "shiv", "pip")
    (system.root / "install").mkdir()
    for source in (ROOT / "install").glob("*.py"):
        (system.root / "install" / source.name).write_bytes(source.read_bytes())
    wheels = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"
    make = f"cd / && {wheels} /tools/bin/python -m install.one_file /{wheel.name} /locality.pyz"
    system.must("sh", "-c", make)
    system.must("rm", "-rf", "/tools")
    started = measures(system, "/locality.pyz")
    size = system.megabytes("/locality.pyz", "/root/.shiv")
    page.rows.append((system.name, "one file", size, 0, started))
    for measuring in FOR_A_SECOND:
        system.must("/locality.pyz", *measuring)
    tries(system, "/locality.pyz")
    exports(system, "/locality.pyz")
    names_what_is_missing(system, "/locality.pyz")
