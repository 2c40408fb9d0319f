"""QEMU with a kernel of arm64: emulated on any machine, so it boots where KVM is of no use.

The guest has a root file system of its own, which `arm64_image.py` makes. From the host it has the
checkout and the unpacked kernel, at the same places and read-only, and /run/share. They come by 9p,
or on disks where its kernel has no 9p (`arm64-disks.sh`); then what it left in /run/share is seen
here when it has ended.

Its Python is not this machine's, and unpacking a package compiles no module. To compile them all
takes an emulated CPU longer than most tests do. So the guest leaves what it compiled in one
archive, and the next guest starts with that. A guest that did not end by itself leaves none.
"""

from __future__ import annotations

import os
import shlex
import shutil
from typing import TYPE_CHECKING

from tests.checkout import CHECKOUT
from tests.vm.arm64_image import ENVIRONMENT, has_module, initramfs, root_image
from tests.vm.kernel_images import cache_directory, require_programs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.vm.kernel_images import KernelImage

PROGRAMS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "mke2fs": "e2fsprogs",
    "busybox": "busybox-static",
    "depmod": "kmod",
}

#: It runs 32-bit programs, has pages of 4 and 16 KiB, and is emulated faster than later ones.
CPU = "cortex-a76"

#: The modules that Python compiled, from one guest to the next.
BYTECODE = "bytecode.tar"

BOOT = """\
#!/bin/busybox sh
# Written by tests/vm/arm64_guest.py: the first program on the guest's root file system.
mkdir /run/bytecode
[ ! -e /run/share/{bytecode} ] || busybox tar -C /run/bytecode -xf /run/share/{bytecode}
rm -f /run/share/{bytecode}
{start}
busybox tar -C /run/bytecode -cf /run/share/{bytecode}.part . &&
    mv /run/share/{bytecode}.part /run/share/{bytecode}
poweroff -f
"""

#: What comes before the command: nothing else loads the drivers of network cards and of taps, and
#: one program of the package is compiled for the machine that it was built on.
PREPARE = """
modprobe -a virtio_net tun || exit 1
gcc -O2 -pthread -o /run/tap_wire locality/lab/tap_wire.c &&
mount --bind /run/tap_wire locality/lab/tap_wire || exit 1
"""


def command(image: KernelImage, share: Path, *, cpus: int | str, memory: str) -> list[str]:
    """What runs QEMU; more options may follow.

    Args:
        image: The kernel.
        share: What the guest has as /run/share; the file boot in it is written here.
        cpus: Number of CPUs, or their layout as of QEMU's -smp.
        memory: In QEMU's notation.

    Raises:
        CannotBoot: A program is missing here, or the guest's files cannot be had.
    """
    require_programs(PROGRAMS)
    start = ["busybox", "sh", "/run/share/start.sh", image.tree, CHECKOUT, ENVIRONMENT]
    boot = BOOT.format(start=shlex.join(map(str, start)), bytecode=BYTECODE)
    (share / "boot").write_text(boot)
    if (kept := _kept_bytecode()).exists():
        shutil.copy(kept, share / BYTECODE)
    options = {
        "machine": "virt,gic-version=3",
        "cpu": CPU,
        "accel": "tcg,thread=multi",
        "smp": str(cpus),
        "m": memory,
        "kernel": str(image.vmlinuz),
        "initrd": str(initramfs(image)),
        "append": "console=ttyAMA0 panic=-1 rdinit=/init",
        "drive": f"if=virtio,format=raw,snapshot=on,file={root_image()}",
        "display": "none",
        "monitor": "none",
        "serial": "stdio",
    }
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    qemu = ["qemu-system-aarch64", "-no-reboot", *words]
    if not has_module(image, "9p"):
        script = CHECKOUT / "tests/vm/arm64-disks.sh"
        return [str(word) for word in (script, share.resolve(), CHECKOUT, image.tree, *qemu)]
    for tag, path, access in (("share", share.resolve(), "off"), ("host", "/", "on")):
        qemu += [
            "-fsdev",
            f"local,id={tag},path={path},security_model=none,readonly={access},multidevs=remap",
            "-device",
            f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
        ]
    return ["setpriv", "--pdeathsig", "KILL", *qemu]


def keep_bytecode(share: Path) -> None:
    """Keep for the next guest what this one compiled, if it came to its end.

    Args:
        share: What the guest had as /run/share.
    """
    if (left := share / BYTECODE).exists():
        part = _kept_bytecode().with_suffix(f".{os.getpid()}")
        shutil.copy(left, part)
        part.replace(_kept_bytecode())
        left.unlink()


def _kept_bytecode() -> Path:
    return cache_directory() / "arm64" / BYTECODE
