"""Debian's kernels, unpacked where a guest can boot them.

A kernel is fetched once, with the machine's own apt and from the archive the
machine already uses, and unpacked below the checkout's cache directory. Nothing
is installed and no file of the system is written: apt gets a private source
list, state and cache, and the modules stay beside the kernel they belong to.

Why unpack and not install: installing builds an initramfs for every kernel,
minutes for something the guest does not use.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.checkout import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Source:
    """Where the archive has a kernel.

    Attributes:
        suite: Of the archive.
        release: What the kernel's version begins with.
        flavour: Of the package ``linux-image-FLAVOUR``.
        architecture: As Debian names it.
    """

    suite: str
    release: str
    flavour: str = "amd64"
    architecture: str = "amd64"


# Of the cloud flavours just that of arm64: they have no 9p, by which guests of x86-64 see files.
SOURCES = {
    "5.10": Source("bullseye", "5.10"),
    "6.1": Source("bookworm", "6.1"),
    "6.12": Source("trixie", "6.12"),
    "6.12-rt": Source("trixie", "6.12", "rt-amd64"),
    "7.x": Source("trixie-backports", "7"),
    "arm64-6.1": Source("bookworm", "6.1", "arm64", "arm64"),
    "arm64": Source("trixie", "6.12", "arm64", "arm64"),
    "arm64-cloud": Source("trixie", "6.12", "cloud-arm64", "arm64"),
    "arm64-16k": Source("trixie", "6.12", "arm64-16k", "arm64"),
}

#: Debian's usual kernels of this machine's own architecture.
USUAL = tuple(name for name, source in SOURCES.items() if source.flavour == "amd64")

# The packages that hold a kernel's files. Since 7.x the image package is empty and depends
# on one with the binary and one with the modules.
KERNEL_FILES = re.compile(r"linux-(image|binary|modules)-\d\S*")

# The keys of every Debian release, so that an older machine can check a newer suite.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class CannotBoot(Exception):  # noqa: N818 - reads as the state it names
    """This machine cannot start such a guest; the message says what is missing."""


@dataclass(frozen=True)
class KernelImage:
    """One unpacked kernel.

    Attributes:
        name: The name it was asked for by, a key of `SOURCES`.
        version: What `uname -r` says when it runs.
        tree: The directory its packages were unpacked to, with boot/ and lib/modules/.
    """

    name: str
    version: str
    tree: Path

    @property
    def architecture(self) -> str:
        """As Debian names it."""
        return SOURCES[self.name].architecture

    @property
    def vmlinuz(self) -> Path:
        """The file that QEMU loads."""
        beside_modules = self.tree / "lib/modules" / self.version / "vmlinuz"  # since 7.x
        if beside_modules.exists():
            return beside_modules
        return self.tree / "boot" / f"vmlinuz-{self.version}"


def kernel_image(name: str) -> KernelImage:
    """Return a kernel, fetching and unpacking it if that was not done before.

    Safe to call from several processes at once: the first one fetches, the others wait.

    Args:
        name: A key of `SOURCES`.

    Raises:
        CannotBoot: The name is not known, or the packages cannot be had.
    """
    if name not in SOURCES:
        raise CannotBoot(f"no kernel named {name!r}: choose one of {', '.join(SOURCES)}")
    cache = cache_directory() / "kernels"
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / name
    with locked(cache / f"{name}.lock"):
        # The tree appears by one rename after apt has checked every hash and depmod has run,
        # so a tree that exists is complete. What a killed run left behind has another name.
        if not tree.is_dir():
            for leftover in cache.glob(f"{name}.part-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with TemporaryDirectory(prefix=f"{name}.part-", dir=cache) as work:
                _unpack(name, Path(work)).rename(tree)
    return KernelImage(name, _version(tree), tree)


def cache_directory() -> Path:
    """Where what was fetched is kept."""
    return Path(os.environ.get("LOCALITY_CACHE", CHECKOUT / ".cache")).resolve()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out that lock the same file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kernel_headers(name: str) -> Path:
    """Return the headers of a kernel, in one tree, as bcc takes them by BCC_KERNEL_SOURCE.

    Args:
        name: A key of `SOURCES`.

    Raises:
        CannotBoot: The kernel or its headers cannot be had.
    """
    image = kernel_image(name)
    tree = image.tree.with_name(f"{name}-headers")
    with locked(tree.with_name(f"{tree.name}.lock")):
        if not (tree / image.version).is_dir():
            shutil.rmtree(tree, ignore_errors=True)  # of a kernel that was here before
            with TemporaryDirectory(prefix=f"{name}.part-", dir=tree.parent) as work:
                _unpack_headers(name, image.version, Path(work)).rename(tree)
    return tree / image.version


def _unpack_headers(name: str, version: str, work: Path) -> Path:
    """Fetch the headers below `work`: Debian keeps what is generated apart from the rest."""
    apt = PrivateApt(work, SOURCES[name].suite)
    package = f"linux-headers-{version}"
    (common,) = apt.depends(package, re.compile(r"linux-headers-\S+-common\S*"))
    for one in apt.download([package, common]):
        unpack(one, work / "debian")
    tree = work / "tree"
    for part, directory in product((common, package), ("include", "arch")):
        source = work / "debian/usr/src" / part / directory
        shutil.copytree(source, tree / version / directory, dirs_exist_ok=True)
    return tree


def _unpack(name: str, work: Path) -> Path:
    """Fetch and unpack below `work`, and return the finished tree."""
    source = SOURCES[name]
    apt = PrivateApt(work, source.suite, source.architecture)
    packages = apt.kernel_packages(f"linux-image-{source.flavour}")
    if not any(f"-{source.release}." in package for package in packages):
        raise CannotBoot(f"the archive's {source.suite} has no {name} kernel but {packages}")
    tree = work / "tree"
    for package in apt.download(packages):
        unpack(package, tree)
    if not (tree / "lib").exists():  # newer packages have only /usr/lib
        (tree / "lib").symlink_to("usr/lib")
    run_tool(["depmod", "--basedir", str(tree), _version(tree)])
    return tree


def _version(tree: Path) -> str:
    (version,) = (path.name for path in (tree / "lib/modules").iterdir())
    return version


class PrivateApt:
    """The machine's apt, looking at one suite, writing only below one directory.

    Args:
        directory: Empty.
        suite: Of the archive.
        architecture: As Debian names it; this machine's may be another one.
    """

    def __init__(self, directory: Path, suite: str, architecture: str = "amd64") -> None:
        self._downloads = directory / "packages"
        for needed in ("lists/partial", "cache/archives/partial", "packages"):
            (directory / needed).mkdir(parents=True)
        signed_by = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        source = directory / "sources.list"
        source.write_text(f"deb {signed_by}{_archive()} {suite} main\n")
        (directory / "status").touch()
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "Dir::State::status": directory / "status",  # nothing is installed there
            "Dir::Etc::sourcelist": source,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State": directory,
            "Dir::Cache": directory / "cache",
            "Acquire::Languages": "none",
            # Else apt only warns when it cannot reach the archive.
            "APT::Update::Error-Mode": "any",
            # As root apt would become a user that may not write to this directory.
            "APT::Sandbox::User": "root",
        }
        self._options = [
            part for key, value in settings.items() for part in ("-o", f"{key}={value}")
        ]
        run_tool(["apt-get", *self._options, "update"])

    def kernel_packages(self, meta_package: str) -> list[str]:
        """The packages with the newest kernel's files, found by following Depends."""
        found: list[str] = []
        waiting = [meta_package]
        while waiting:
            for package in self.depends(waiting.pop(), KERNEL_FILES):
                if package not in found:
                    found.append(package)
                    waiting.append(package)
        return found

    def depends(self, package: str, wanted: re.Pattern[str]) -> list[str]:
        """The packages of a certain name that a package depends on."""
        answer = run_tool(["apt-cache", *self._options, "depends", package])
        return [one for one in re.findall(r"Depends: (\S+)", answer) if wanted.fullmatch(one)]

    def download(self, packages: list[str]) -> list[Path]:
        """Download packages; apt itself compares them with the archive's signed hashes."""
        run_tool(["apt-get", *self._options, "download", *packages], directory=self._downloads)
        return sorted(self._downloads.glob("*.deb"))

    def download_with_depends(self, packages: list[str]) -> list[Path]:
        """Download packages and all that they depend on."""
        how = ("--download-only", "--no-install-recommends", "--yes", "--quiet")
        run_tool(["apt-get", *self._options, "install", *how, *packages])
        return sorted((self._downloads.parent / "cache/archives").glob("*.deb"))


def unpack(package: Path, tree: Path) -> None:
    """Unpack a package; none of its scripts runs."""
    run_tool(["dpkg-deb", "--extract", str(package), str(tree)])


def _archive() -> str:
    """The address from which this machine's own apt gets Debian."""
    answer = run_tool(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(LABEL) $(RELEASE) $(REPO_URI)",
            "Created-By: Packages",
            "Component: main",
        ]
    )
    sources = [line.split(" ") for line in answer.splitlines()]
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME")
    for label, release, address in sources:
        # The label is known once `apt-get update` has run; without it the suite must do.
        if label == "Debian" or (label == "$(LABEL)" and release == codename):
            return address
    raise CannotBoot("apt on this machine has no source for Debian's main component")


def require_programs(programs: Mapping[str, str]) -> None:
    """Check that these programs are there.

    Args:
        programs: For each program, the Debian package that has it.

    Raises:
        CannotBoot: One is missing; says how to install it.
    """
    for program, package in programs.items():
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise CannotBoot(f"{program} is not installed: apt-get install {package}")


def run_tool(command: list[str], directory: Path | None = None) -> str:
    """Run a program of this machine; what it wrote to standard output.

    Raises:
        CannotBoot: It is not installed, or failed.
    """
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},  # the answers are read by this program
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError as missing:
        raise CannotBoot(f"{command[0]} is not installed") from missing
    except subprocess.CalledProcessError as failed:
        lines = [*failed.stderr.splitlines(), f"exit status {failed.returncode}"]
        why = next((line for line in lines if line.startswith("E: ")), lines[0])  # apt's mark
        raise CannotBoot(f"{command[0]} could not get what a guest needs: {why}") from failed
    return done.stdout
