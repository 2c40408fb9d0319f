"""The root file system and the initramfs of guests of arm64.

The root file system is made once, below the checkout's cache directory: Debian's packages of the
other architecture are unpacked, not installed, for no script of theirs could run here; Python's
wheels are laid beside them; mke2fs makes an ext4 image of it all. It holds no kernel and no
checkout, so one image serves all kernels. `tools/arm64-guest-*.txt` say what is in it.

The initramfs is made for each kernel: its modules for a virtio disk with ext4 and for 9p, and
busybox, which loads them.
"""

from __future__ import annotations

import lzma
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.checkout import CHECKOUT
from tests.vm.kernel_images import (
    CannotBoot,
    PrivateApt,
    cache_directory,
    locked,
    run_tool,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.vm.kernel_images import KernelImage

#: The suite of the archive that the guest's programs are from.
SUITE = "trixie"
#: Its Python, and the wheels that fit it and its C library.
PYTHON = "3.13"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")

#: Python's virtual environment in the guest.
ENVIRONMENT = Path("/opt/locality")

PACKAGES = CHECKOUT / "tools/arm64-guest-packages.txt"
WHEELS = CHECKOUT / "tools/arm64-guest-wheels.txt"
INIT = CHECKOUT / "tests/vm/arm64-init.sh"

#: What mounting the root file system and the shared directories takes.
MODULES = ("crc32c_generic", "virtio_pci", "virtio_blk", "ext4", "9pnet_virtio", "9p")
#: What some kernels do not have: the checksums that ext4 asks for by name, and 9p.
MAY_BE_MISSING = {"crc32c_generic", "9pnet_virtio", "9p"}

_SPARE = 1.25  # an image is so much larger than the files in it, for what ext4 itself needs


def root_image() -> Path:
    """The image of the root file system; made if that was not done before, or the lists changed.

    Raises:
        CannotBoot: The packages or wheels cannot be had.
    """
    made_of = b"".join(path.read_bytes() for path in (PACKAGES, WHEELS, Path(__file__)))
    directory = cache_directory() / "arm64"
    directory.mkdir(parents=True, exist_ok=True)
    image = directory / f"root-{sha256(made_of).hexdigest()[:16]}.ext4"
    with locked(directory / "root.lock"):
        if not image.exists():
            for leftover in directory.glob("root-*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            with TemporaryDirectory(prefix="root-", dir=directory) as work:
                _make_image(Path(work)).rename(image)
    return image


def initramfs(kernel: KernelImage) -> Path:
    """The initramfs of a kernel, as it is unpacked in the cache; made if it is not there.

    Raises:
        CannotBoot: It cannot be made.
    """
    made_of = sha256(INIT.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    archive = kernel.tree.with_name(f"{kernel.name}-initramfs-{made_of}")
    with locked(archive.with_name(f"{kernel.name}-initramfs.lock")):
        if not archive.exists():
            for leftover in archive.parent.glob(f"{kernel.name}-initramfs-*"):
                leftover.unlink()
            with TemporaryDirectory(prefix=f"{kernel.name}.part-", dir=archive.parent) as work:
                _make_initramfs(kernel, Path(work)).rename(archive)
    return archive


def _make_image(work: Path) -> Path:
    tree, archive = work / "tree", work / "archive"
    archive.mkdir()
    for package in PrivateApt(archive, SUITE, "arm64").download_with_depends(list_words(PACKAGES)):
        unpack(package, tree)
    for name in ("passwd", "group"):  # what base-passwd's script would do
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / f"etc/{name}")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (tree / "etc/mtab").symlink_to("../proc/self/mounts")
    _make_environment(tree / ENVIRONMENT.relative_to("/"))
    image = work / "image"
    size = int(_bytes(tree) * _SPARE)
    made = ("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), f"{size >> 10}k")
    run_tool([*made])
    return image


def _make_environment(directory: Path) -> None:
    """Lay out a virtual environment with the wheels in it."""
    packages = directory / f"lib/python{PYTHON}/site-packages"
    packages.mkdir(parents=True)
    (directory / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {PYTHON}\n"
    )
    (directory / "bin").mkdir()
    (directory / "bin/python").symlink_to("/usr/bin/python3")
    run_tool(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--target", str(packages), "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", PYTHON),
            *(f"--platform={platform}" for platform in PLATFORMS),
            *("--requirement", str(WHEELS)),
        ]
    )


def _make_initramfs(kernel: KernelImage, work: Path) -> Path:
    root = work / "initramfs"
    for directory in ("bin", "modules"):
        (root / directory).mkdir(parents=True)
    (archive := work / "archive").mkdir()
    for package in PrivateApt(archive, SUITE, "arm64").download(["busybox-static"]):
        unpack(package, work / "busybox")
    shutil.copy(work / "busybox/usr/bin/busybox", root / "bin/busybox")
    shutil.copy(INIT, root / "init")
    (root / "init").chmod(0o755)
    for number, module in enumerate(kernel_modules(kernel)):
        content = module.read_bytes()
        if module.suffix == ".xz":
            content = lzma.decompress(content)
        (root / f"modules/{number:02}-{module.name.partition('.')[0]}.ko").write_bytes(content)
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    packed = run(
        ["busybox", "cpio", "-o", "-H", "newc"],
        cwd=root,
        input="\n".join([".", *names, ""]).encode(),
        capture_output=True,
        check=False,
    )
    if packed.returncode:
        raise CannotBoot(f"busybox cpio made no initramfs: {packed.stderr.decode()}")
    (work / "packed").write_bytes(packed.stdout)
    return work / "packed"


def has_module(kernel: KernelImage, name: str) -> bool:
    """Whether a kernel has a module, or what is in it."""
    return name in _dependencies(kernel) or name in _built_in(kernel)


def kernel_modules(kernel: KernelImage) -> Iterator[Path]:
    """The files of `MODULES` and of what they depend on, each behind what it depends on."""
    depends, directory = _dependencies(kernel), _directory(kernel)
    done = set[str]()
    for name in MODULES:
        if name not in depends:
            if name in MAY_BE_MISSING or name in _built_in(kernel):
                continue
            raise CannotBoot(f"{kernel.name} has no module {name}")
        # modules.dep lists what comes last first.
        for file in reversed(depends[name]):
            if file not in done:
                done.add(file)
                yield directory / file


def _directory(kernel: KernelImage) -> Path:
    return kernel.tree / "lib/modules" / kernel.version


def _dependencies(kernel: KernelImage) -> dict[str, list[str]]:
    """For each module its file, and those of what it depends on, as depmod orders them."""
    lines = (_directory(kernel) / "modules.dep").read_text().splitlines()
    return {_name(line.partition(":")[0]): line.replace(":", " ", 1).split() for line in lines}


def _built_in(kernel: KernelImage) -> set[str]:
    files = (_directory(kernel) / "modules.builtin").read_text().splitlines()
    return {_name(file) for file in files}


def _name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


def list_words(path: Path) -> list[str]:
    """The first words of a list's lines."""
    lines = (line.partition("#")[0].split() for line in path.read_text().splitlines())
    return [words[0] for words in lines if words]


def _bytes(tree: Path) -> int:
    """The room that a tree takes in blocks of 4 KiB, with an inode each."""
    files = [path.lstat() for path in tree.rglob("*")]
    return sum((one.st_size + 4095) // 4096 * 4096 + 512 for one in files) + (16 << 20)
