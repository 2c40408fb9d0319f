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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packages.chroots import SUITES, Chroot, bare

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
KNOWN_ANSWER = Path(__file__).with_name("known_answer.py")
#: Everything that wheels need in any of these ways, and what makes one file of them.
WHEELS = ("click", "numpy", "rich", "pyroute2", "pandas", "matplotlib", "pyarrow", "shiv", "pip")
#: What measures without an end of its own, for one second.
FOR_A_SECOND = tuple((kind, "--count", "1") for kind in ("top", "cost", "skb", "udp"))
LEAN = ("click", "numpy", "rich", "pyroute2")
MOST_LEAN_MB = 110

HEAD = """\
# Installed on bare systems

`make test-packages` wrote this page. It installs locality in each way of the
[guide on installing](../guides/install.md) on minimal Debian systems and lets it see 23 of 23
connections there. The size is that of the files on disk with all packages that are not part of
the minimal system with Python, without pip. Wheels and packages were at hand; the last column is
the time from the command to the first probe, at its first start. All ran on the kernel of one
machine, which did other work, too; systems can be of different runs.

| system | way | MB on disk | seconds to install | seconds to start |
|---|---|--:|--:|--:|
"""
NAMES = {suite: name for name, suite in SUITES.items()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="session")
def deb(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("deb")
    command = [sys.executable, "-m", "install.debian", str(wheel), str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


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
    with bare(
        NAMES[request.param], request.param, [*depends, "python3-venv", "python3-pyroute2"], root
    ) as chroot:
        wheels = root / "wheels"
        version = chroot.must("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels)]
        only = ["--only-binary", ":all:", "--python-version", version.strip()]
        subprocess.run([*pip, *only, *WHEELS], check=True)
        for file in (wheel, deb):
            (root / file.name).write_bytes(file.read_bytes())
        (root / "known_answer.py").write_bytes(KNOWN_ANSWER.read_bytes())
        yield chroot


@dataclass
class Page:
    """docs/generated/install.md: a row for each system and way.

    Attributes:
        rows: System, way, megabytes on disk, seconds to install, seconds until it measures.
    """

    rows: list[tuple[str, str, float, float, float]] = field(default_factory=list)

    def text(self, earlier: str) -> str:
        """All of it; systems that were not installed now stay as an earlier page has them."""
        lines: dict[str, list[str]] = {name: [] for name in SUITES}
        for line in earlier.splitlines(keepends=True):
            if (name := line[2:].partition(" |")[0]) in lines:
                lines[name].append(line)
        for name in {row[0] for row in self.rows}:
            lines[name].clear()
        for system, way, size, installing, starting in self.rows:
            figures = f"{size:.0f} | {installing:.0f} | {starting:.1f}"
            lines[system].append(f"| {system} | {way} | {figures} |\n")
        return HEAD + "".join(line for name in lines for line in lines[name])


@pytest.fixture(scope="session")
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """What is written to ``--table`` at the end."""
    found = Page()
    yield found
    if (table := request.config.getoption("--table")) and found.rows:
        place = Path(table)
        earlier = place.read_text(encoding="utf-8") if place.exists() else ""
        place.write_text(found.text(earlier), encoding="utf-8")


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


# Bugs: a dependency is missing or too new for the distribution; a file is not in the package.
def test_the_debian_package(system: Chroot, deb: Path, page: Page) -> None:
    begin = time.monotonic()
    system.must("dpkg", "-i", f"/{deb.name}")
    installing = time.monotonic() - begin
    started = measures(system, "locality")
    size = system.megabytes("/usr/lib/python3/dist-packages", "/usr/bin/locality")
    page.rows.append((system.name, "Debian package", size, installing, started))
    assert "locality-accept" in system.must("ls", "/usr/share/man/man1")
    for command in ("check", "groups", "doctor"):
        assert "Traceback" not in system.run("locality", command).stderr
    for measuring in FOR_A_SECOND:
        system.must("locality", *measuring)
    said = system.run("locality", "accept", "--record", "/x.arrows", "--duration", "0.1").stderr
    assert "pyarrow" in said
    system.must("dpkg", "-r", "locality")
    assert system.run("ls", "/usr/lib/python3/dist-packages/locality").returncode


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


# Bug: what only measures asks for what draws and records.
def test_the_lean_wheel(system: Chroot, wheel: Path, page: Page) -> None:
    installing = install(system, "/lean", *LEAN)
    system.must("/lean/bin/pip", "install", "-q", "--no-index", "--no-deps", f"/{wheel.name}")
    started = measures(system, "/lean/bin/locality")
    for command in (*FOR_A_SECOND, ("connections", "--duration", "0.5"), ("groups",), ("check",)):
        system.must("/lean/bin/locality", *command)
    size = packages_of(system, "/lean")
    page.rows.append((system.name, "wheel, lean", size, installing, started))
    assert size <= MOST_LEAN_MB


# Bug: the one file needs more than Python and libbpf.
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
