"""What is built for users: it must carry the compiled probes, and build from its own sources."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBES = ROOT / "locality/probes"


def build(kind: str, source: Path, into: Path) -> Path:
    """Build with the back end that is installed here; nothing is downloaded."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    archive = build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))
    target = tmp_path_factory.mktemp("sources")
    # Not by Python, whose newer versions want a filter that Debian 12's does not know.
    subprocess.run(["tar", "-C", target, "-xf", archive], check=True)
    (top,) = target.iterdir()
    return top


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution as pip does it: nothing else is at hand."""
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    target = tmp_path_factory.mktemp("site-packages")
    shutil.unpack_archive(wheel, target, format="zip")
    return target


# Bugs: a header is left out and the build from source fails on the user's machine; an object of
# this machine is shipped as source and hides that one cannot be compiled.
def test_the_source_distribution_has_sources_only(sources: Path) -> None:
    probes = {path.name for path in (sources / "locality/probes").iterdir()}
    assert {path.name for path in PROBES.glob("*.[ch]")} <= probes
    assert not [name for name in probes if name.endswith(".o")]
    assert (sources / "locality/lab/tap_wire.c").is_file()
    assert not (sources / "locality/lab/tap_wire").exists()
    for name in ("hatch_build.py", "pyproject.toml", "LICENSE", "README.md", "Makefile"):
        assert (sources / name).is_file(), name


# Bugs: git ignores the compiled probes, and so did the wheel; a probe added to the sources is
# not compiled; the wheel has the objects of just the architecture that it was built on; every
# measurement is refused on Linux 6.1 without CAP_SYS_ADMIN.
def test_the_wheel_has_every_probe_for_every_architecture(installed: Path) -> None:
    expected = {
        f"{path.name.removesuffix('.bpf.c')}.{machine}.bpf.o"
        for path in PROBES.glob("*.bpf.c")
        for machine in ("x86_64", "aarch64")
    }
    assert expected
    objects = list((installed / "locality/probes").glob("*.o"))
    without_cast = [path for path in objects if "-uncast." in path.name]
    assert {path.name for path in objects} == expected | {path.name for path in without_cast}
    # libbpf asks for CAP_SYS_ADMIN where an older kernel does not have what the object names.
    naming = {path.name for path in objects if b"bpf_rdonly_cast" in path.read_bytes()}
    assert naming == {path.name.replace("-uncast", "") for path in without_cast}
    for path in objects:
        # ELF, 64 bits, little endian; machine 247 is EM_BPF.
        head = path.read_bytes()[:20]
        assert head[:6] == b"\x7fELF\x02\x01"
        assert int.from_bytes(head[18:20], "little") == 247


# Bugs: the lab's cable has to be compiled on the user's machine; an installer takes it for a file
# of data, and it cannot be started; it asks for a newer C library than the user has.
def test_the_wheel_has_the_labs_cable_as_a_program(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        program = archive.getinfo("locality/lab/tap_wire")
        content = archive.read(program)
    head = content[:20]
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<2H", content, 54)
    kinds = [struct.unpack_from("<I", content, start + size * number)[0] for number in range(count)]
    assert kinds
    assert 3 not in kinds  # PT_INTERP
    assert program.external_attr >> 16 & 0o777 == 0o755
    # ELF, 64 bits, little endian; machine 62 is EM_X86_64.
    assert head[:6] == b"\x7fELF\x02\x01"
    assert int.from_bytes(head[18:20], "little") == 62


# Bug: `--engine bcc` finds no source to compile in what users install.
def test_the_wheel_has_the_sources_of_the_probes(installed: Path) -> None:
    shipped = {path.name for path in (installed / "locality/probes").iterdir()}
    assert {path.name for path in PROBES.glob("*.[ch]")} <= shipped


# Bugs: "linux_x86_64", which no index takes and arm64 cannot install; "cp311", though no Python
# extension is in it and every other Python would build from source.
def test_the_wheel_is_for_any_machine_and_any_python(wheel: Path) -> None:
    assert wheel.stem.endswith("-py3-none-any")


# Bugs: the command is not installed; the types marker is missing and mypy ignores the package; the
# demo has no recording to show where it cannot run.
def test_the_wheel_has_the_command_the_types_and_the_recordings(installed: Path) -> None:
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "locality = locality.__main__:main" in entry_points.read_text()
    assert (installed / "locality/py.typed").is_file()
    for name in ("before", "after"):
        for kind in (".arrows", ".skb.arrows"):
            assert (installed / f"locality/lab/recorded/{name}{kind}").is_file()
    assert not (installed / "tests").exists()


def pythons() -> list[str]:
    """The Pythons that are installed here, of the versions that the package is for."""
    found = {}
    for version in re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()):
        name = f"python{version}"
        by_pyenv = [str(path) for path in Path.home().glob(f".pyenv/versions/*/bin/{name}")]
        for program in (*by_pyenv, *filter(None, [shutil.which(name)])):
            said = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
            if f"Python {version}." in said.stdout:
                found[version] = program
    return [*found.values()]


# Bugs: what the newest Python has taken up, or older ones do not have, or what the next one will
# refuse. tests/packages measures with three of them.
@pytest.mark.parametrize("python", pythons())
def test_every_python_compiles_the_package(installed: Path, python: str, tmp_path: Path) -> None:
    own = ["-I", "-W", "error", "-X", f"pycache_prefix={tmp_path}"]
    done = subprocess.run(
        [python, *own, "-m", "compileall", "-q", "-f", installed / "locality"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Bug: the probes are looked for in the checkout, or in the directory one happens to be in. Opening
# them is libbpf's work and needs no privileges; that they fit the records is checked too.
def test_the_installed_package_opens_its_own_probes(installed: Path, tmp_path: Path) -> None:
    script = """
import json, locality
from locality.accept.batch import ACCEPT
from locality.bpf.btf import check_layout
from locality.bpf.object import Object
for name in ("accept_cpu", "skb_alloc_free", "reuseport_group"):
    obj = Object.open(name)
    if name == "accept_cpu":
        check_layout(ACCEPT, obj.btf.struct("accept_event"), "accept_event")
    obj.close()
print(json.dumps(locality.__file__))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert Path(json.loads(done.stdout)).is_relative_to(installed)
