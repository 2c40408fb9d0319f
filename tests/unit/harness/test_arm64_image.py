"""What goes into a guest of arm64: which packages, and which modules in which order."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.checkout import CHECKOUT
from tests.vm.arm64_guest import BYTECODE, keep_bytecode
from tests.vm.arm64_image import (
    MODULES,
    PACKAGES,
    WHEELS,
    has_module,
    kernel_modules,
    list_words,
)
from tests.vm.kernel_images import CannotBoot, KernelImage
from tests.vm.live_tests import IGNORED, NEEDS_CLANG

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "6.12.0-arm64"
#: As depmod writes it: behind each module what it depends on, what must be loaded first last.
DEPENDS = """\
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/net/9p/9pnet.ko.xz:
"""


def kernel(tree: Path, built_in: str) -> KernelImage:
    """An unpacked kernel with these modules, and these built in."""
    modules = tree / "lib/modules" / RELEASE
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text(DEPENDS)
    (modules / "modules.builtin").write_text(built_in)
    return KernelImage("arm64", RELEASE, tree)


# Bugs: a module is loaded before one that it depends on, or twice, which insmod refuses; one that
# is built in is missed; one that only some kernels have is taken for missing.
def test_modules_come_behind_what_they_depend_on(tmp_path: Path) -> None:
    files = kernel_modules(kernel(tmp_path, "kernel/fs/9p/9p.ko\n"))
    names = [path.name.partition(".")[0] for path in files]
    assert sorted(names) == sorted(set(names))
    for first, then in (("virtio", "virtio_pci"), ("virtio", "virtio_blk"), ("jbd2", "ext4")):
        assert names.index(first) < names.index(then)
    assert set(MODULES) - {*names} == {"crc32c_generic", "9p"}


# Bug: a kernel that has 9p built in is given disks, or one without it waits for 9p for ever.
def test_what_is_built_in_is_there(tmp_path: Path) -> None:
    assert has_module(kernel(tmp_path / "with", "kernel/fs/9p/9p.ko\n"), "9p")
    assert not has_module(kernel(tmp_path / "without", "kernel/fs/9p/9pnet.ko\n"), "9p")


# Bug: a kernel without what the root file system needs is booted all the same, and panics.
def test_a_kernel_without_a_module_cannot_boot(tmp_path: Path) -> None:
    image = kernel(tmp_path, "")
    dependencies = tmp_path / "lib/modules" / RELEASE / "modules.dep"
    dependencies.write_text(DEPENDS.replace("ext4/ext4.ko", "ext4/other.ko"))
    with pytest.raises(CannotBoot, match="arm64 has no module ext4"):
        list(kernel_modules(image))


# Bug: the reason that stands beside a package is asked of apt, too.
def test_a_list_is_its_first_words() -> None:
    packages = list_words(PACKAGES)
    assert "busybox-static" in packages
    assert not [word for word in packages if not word.replace("-", "").isalnum()]
    assert any(line.startswith("numpy") for line in list_words(WHEELS))


#: Collects the live tests with no package but those that the guest has.
COLLECT = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


# Bug: a test file imports what the guest does not have, and no live test runs there at all.
def test_the_live_tests_can_be_collected_there() -> None:
    used = re.findall(r'"([\w-]+)>=', (CHECKOUT / "pyproject.toml").read_text())
    hidden = {*used} - {word.partition(">")[0] for word in list_words(WHEELS)}
    assert {"hypothesis", "matplotlib", "pandas"} <= hidden
    ignored = (f"--ignore=tests/live/{name}" for name in (*IGNORED, *NEEDS_CLANG))
    plugins = (word for name in ("hypothesispytest", "xdist") for word in ("-p", f"no:{name}"))
    done = subprocess.run(
        [
            *(sys.executable, "-c", COLLECT.format(hidden=sorted(hidden))),
            *("tests/live", "--collect-only", "-q", "-p", "no:cacheprovider"),
            *plugins,
            *ignored,
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


# Bugs: what a guest compiled is lost, or is left in a directory of the user; a guest that was
# killed leaves less than the one before.
def test_what_was_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALITY_CACHE", str(tmp_path))
    (share := tmp_path / "share").mkdir()
    (kept := tmp_path / "arm64").mkdir()
    for left in (b"first", b"second", None):
        if left:
            (share / BYTECODE).write_bytes(left)
        keep_bytecode(share)
        assert [*share.iterdir()] == []
        assert [path.name for path in kept.iterdir()] == [BYTECODE]
    assert (kept / BYTECODE).read_bytes() == b"second"
