"""The image of the container, built as the guide says, measures with the documented capabilities.

Needs podman and runc; where no container can be run, the tests fail and say what was answered.
The base image is made of the distribution's packages, because a registry of images is not asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.live.output.test_container import MANIFEST, ROOT, SERVER
from tests.packages.chroots import make_system
from tests.packages.test_installed import KNOWN_ANSWER, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.packages.page import Page

CONTAINERFILE = ROOT / "install/container/Containerfile"
BASE = re.findall(r"^FROM (\S+)$", CONTAINERFILE.read_text(encoding="utf-8"), re.MULTILINE)[0]
PLACE = re.findall(r"^WORKDIR (\S+)$", CONTAINERFILE.read_text(encoding="utf-8"), re.MULTILINE)[0]
PATIENCE = 120


class Podman:
    """podman with images and containers of its own.

    Args:
        directory: Where these are.
    """

    def __init__(self, directory: Path) -> None:
        own = ("--root", str(directory / "images"), "--runroot", str(directory / "run"))
        # runc runs in any layout of cgroups.
        self._words = ("podman", *own, "--storage-driver", "overlay", "--runtime", "runc")
        (added,) = re.findall(r"add: \[(.*)\]", MANIFEST.read_text(encoding="utf-8"))
        granted = ",".join(re.findall(r'"(\w+)"', added))
        self._limited = (
            *("--security-opt", "seccomp=unconfined"),
            *("--cap-drop", "all", "--cap-add", granted),
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run podman to its end."""
        command = [*self._words, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=600, check=False, errors="replace"
        )

    def must(self, *words: str) -> str:
        """What podman prints where it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def contain(self, *words: str) -> tuple[str, ...]:
        """Words that start a container with the limits that any process may set."""
        return ("run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", *words)

    def limited(self, *words: str) -> tuple[str, ...]:
        """Words that start a container with the documented capabilities, and a root to read."""
        return self.contain("--rm", "--read-only", *self._limited, *words)


@pytest.fixture(scope="module")
def podman(deb: Path, page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """With the image `locality`."""
    directory = tmp_path_factory.mktemp("podman")
    podman = Podman(directory)
    base = directory / "base.tar"
    make_system("trixie", ["ca-certificates"], base)
    podman.must("import", str(base), BASE)
    base.unlink()
    begin = time.monotonic()
    build = ("build", "--isolation", "chroot", "--pull=never", "-t", "locality")
    podman.must(*build, "-f", str(CONTAINERFILE), str(deb.parent))
    building = time.monotonic() - begin
    size = int(podman.must("image", "inspect", "--format", "{{.Size}}", "locality")) / 1048576
    program = f"{KNOWN_ANSWER}:/known_answer.py:ro"
    inside = ("--network", "none", "--volume", program, "--entrypoint", "python3", "locality")
    said = json.loads(podman.must(*podman.limited(*inside, "/known_answer.py", "locality")))
    assert (said["code"], said["ours"]) == (0, 23)
    page.rows.append(("Debian 13", "container", size, building, said["started"]))
    yield podman
    podman.run("rm", "--all", "--force", "--time", "0")
    podman.run("rmi", "--all", "--force")
    shutil.rmtree(directory, ignore_errors=True)


# Bugs: the image lacks a package that a command needs; the documented capabilities are too few in
# a container; pids of the machine are printed, so that --pid sees nothing.
def test_commands_see_the_server_of_another_container(podman: Podman, tmp_path: Path) -> None:
    serve = ("--detach", "--network", "none", "--entrypoint", "python3", "locality", "-c", SERVER)
    server = podman.must(*podman.contain(*serve)).strip()
    end = time.monotonic() + PATIENCE
    while not (printed := podman.must("logs", server).split()) and time.monotonic() < end:
        time.sleep(0.1)
    port, first, second = printed
    beside = ("--pid", f"container:{server}", "--network", f"container:{server}")

    def locality(*words: str, volume: Path | None = None) -> subprocess.CompletedProcess[str]:
        kept = () if volume is None else ("--volume", f"{volume}:{PLACE}")
        return podman.run(*podman.limited(*beside, *kept, "locality", *words))

    def said(*words: str) -> list[dict[str, object]]:
        done = locality(*words, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    accepts = said("accept", "--pid", first, "--port", port, "--count", "20")
    assert [record["pid"] for record in accepts] == [int(first)] * 20
    (seen,) = said("top", "--port", port, "--by", "process", "--count", "1")
    rows = seen["rows"]
    assert isinstance(rows, list)
    assert {int(first), int(second)} <= {row["pid"] for row in rows}
    (group,) = said("groups", "--port", port)
    assert json.dumps(group).count('"inode"') == 2
    done = locality("explain", "--port", port, "--duration", "1", "--json")
    assert json.loads(done.stdout)["before"]["accepted"], done.stderr
    trial = ["trial", "--port", port, "--duration", "1", "--aa", "0"]
    for bound in ("--max-wait", "--max-imbalance", "--max-overflows", "--max-drops"):
        trial += [bound, "1000000"]
    done = locality(*trial)
    assert done.returncode == 1
    assert done.stderr.startswith("locality: nothing changed: cannot write the undo file ")
    assert done.stderr.endswith(
        "Read-only file system; choose another place with --undo-file FILE\n"
    )
    done = locality(*trial, "--json", volume=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [*tmp_path.iterdir()]
    podman.must("rm", "--force", "--time", "0", server)


# Bug: the image has not what the exporter needs.
def test_the_exporter_answers_in_a_container(podman: Podman) -> None:
    program = f"{METRICS}:/known_metrics.py:ro"
    inside = ("--network", "none", "--volume", program, "--entrypoint", "python3", "locality")
    said = json.loads(podman.must(*podman.limited(*inside, "/known_metrics.py", "locality")))
    assert said == {"code": 0, "accepted": 23, "error": ""}


# Bug: undo files are written where nothing can be written, or are gone with the container.
def test_the_manifest_keeps_undo_files() -> None:
    manifest = MANIFEST.read_text(encoding="utf-8")
    assert f"workingDir: {PLACE}\n" in manifest
    assert f"mountPath: {PLACE}}}" in manifest
    assert f"hostPath: {{path: {PLACE}, " in manifest
