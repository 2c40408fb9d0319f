"""Make a Debian package of a wheel.

python -m install.debian WHEEL DIRECTORY      # make deb

The package has the files of the wheel, the command, manual pages, completions and a service. It
needs what measures, explains and acts, all of it from Debian; recordings and reports need pyarrow,
which Debian does not have: docs/guides/install.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from install.man_pages import pages
from locality import __version__

HERE = Path(__file__).parent
ROOT = HERE.parent

CONTROL = """\
Package: locality
Version: {version}
Architecture: {architecture}
Maintainer: the authors of locality <root@localhost>
Section: net
Priority: optional
Installed-Size: {kilobytes}
Depends: python3 (>= 3.11), python3-click (>= 8.1), python3-numpy (>= 1:1.24),
 python3-rich (>= 13.3), libbpf1
Recommends: python3-prometheus-client (>= 0.16), bash-completion
Suggests: nginx-light, wrk
Description: shows whether Linux handles a packet on the CPU that received it
 locality measures on a running server on which CPU connections are accepted and
 packets are consumed, and which CPU received them. It explains what it finds,
 changes it, and shows whether the change worked. Probes are compiled eBPF.
"""

#: Isolated (-I): as root, nothing is imported from the current directory or the environment.
COMMAND = """\
#!/usr/bin/python3 -I
from locality.__main__ import main

main()
"""

POSTINST = """\
#!/bin/sh
set -e
[ "$1" != configure ] || py3compile -p locality || true
"""
PRERM = """\
#!/bin/sh
set -e
py3clean -p locality || true
"""

#: Where each shell looks for what completes a command.
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/locality",
    "zsh": "usr/share/zsh/vendor-completions/_locality",
    "fish": "usr/share/fish/vendor_completions.d/locality.fish",
}


def tree(wheel: Path, root: Path) -> None:
    """Lay out the files of the package, but for DEBIAN/."""
    packages = root / "usr/lib/python3/dist-packages"
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = archive.extract(member, packages)
            mode = member.external_attr >> 16
            Path(name).chmod(0o755 if mode & 0o111 or Path(name).is_dir() else 0o644)
    _write(root / "usr/bin/locality", COMMAND, 0o755)
    for name, text in pages():
        _write(root / "usr/share/man/man1" / name, text)
    for manual in (root / "usr/share/man/man1").iterdir():
        subprocess.run(["gzip", "-9n", str(manual)], check=True)
    for shell, place in COMPLETIONS.items():
        environment = {**os.environ, "_LOCALITY_COMPLETE": f"{shell}_source"}
        script = subprocess.run(
            [sys.executable, "-m", "locality"],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        _write(root / place, script.stdout)
    for unit in HERE.glob("*.service"):
        _write(root / "usr/lib/systemd/system" / unit.name, unit.read_text(encoding="utf-8"))
    documents = root / "usr/share/doc/locality"
    _write(documents / "copyright", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    shutil.copytree(ROOT / "docs", documents / "docs")
    shutil.copytree(HERE / "prometheus", documents / "prometheus")
    shutil.copy(ROOT / "README.md", documents)


def build(wheel: Path, into: Path) -> Path:
    """The package, made of a wheel.

    Args:
        wheel: Of this architecture, or of all.
        into: The directory for the package.
    """
    architecture = _said("dpkg", "--print-architecture")
    package = into / f"locality_{__version__}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        tree(wheel, root)
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        control = CONTROL.format(
            version=__version__, architecture=architecture, kilobytes=size // 1024
        )
        _write(root / "DEBIAN/control", control)
        _write(root / "DEBIAN/postinst", POSTINST, 0o755)
        _write(root / "DEBIAN/prerm", PRERM, 0o755)
        into.mkdir(parents=True, exist_ok=True)
        _said("dpkg-deb", "--root-owner-group", "--build", str(root), str(package))
    return package


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(f"{build(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
