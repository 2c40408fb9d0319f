"""What CI runs: `.ci/run` in all kinds of repositories, with a `make` that only notes its words."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci/run"
KERNELS = ["5.10", "6.1", "6.12-rt", "7.x", "arm64"]
CORE = "test-core KERNEL="

MAKE = """#!/bin/sh
echo "$LOCALITY_REQUIRE_LIVE: $*" >>"$MADE"
[ "$1" != test ] || { mkdir -p .cache/test && echo "7 passed" >.cache/test/unit.log; }
case $1 in "$SLOW") exec sleep 1000 ;; "$BROKEN") exit 2 ;; esac
"""


class Repository:
    """A repository with one commit that has landed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "clone"
        self._made = directory / "made"
        origin = directory / "origin"
        origin.mkdir()
        self.git("init", "--quiet", "--initial-branch=main", at=origin)
        (origin / ".ci").mkdir()
        shutil.copy(SCRIPT, origin / ".ci")
        (origin / ".gitignore").write_text(".cache\n")
        self.git("add", ".", at=origin)
        self.commit(at=origin)
        self.git("clone", "--quiet", "file://" + str(origin), str(self.path), at=directory)
        programs = directory / "programs"
        programs.mkdir()
        (programs / "make").write_text(MAKE)
        (programs / "make").chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "MADE": str(self._made),
        }

    def git(self, *arguments: str, at: Path | None = None) -> None:
        subprocess.run(["git", "-C", at or self.path, *arguments], check=True)

    def commit(self, *files: str, at: Path | None = None) -> None:
        for name in files:
            path = (at or self.path) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("changed")
            self.git("add", name, at=at)
        who = ("-c", "user.name=n", "-c", "user.email=e")
        self.git(*who, "commit", "--quiet", "--allow-empty", "--message=m", at=at)

    def run(self, **environment: str) -> tuple[int, list[str], str]:
        """The exit status, what was made, and what was said."""
        self._made.write_text("")
        ended = subprocess.run(
            [self.path / ".ci/run"],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        made = self._made.read_text().splitlines()
        assert all(line.startswith("1: ") for line in made), "skips are not forbidden"
        return ended.returncode, [line[3:] for line in made], ended.stdout + ended.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


# Bugs: a change that can matter in a guest, or one that is not committed, passes without a kernel;
# every change of a comma in the documentation costs twenty minutes.
@pytest.mark.parametrize(
    ("files", "core"),
    [
        (["docs/a.md", "README.md", "tests/unit/test_x.py", "locality/reporting/x.py"], False),
        (["docs/a.md", "locality/probes/x.bpf.c"], True),
        (["tests/live/test_x.py"], True),
        (["tests/vm/start.sh"], True),
        (["locality/accept/source.py"], True),
        (["locality/new.py"], True),
    ],
)
def test_a_kernel_is_run_for_what_can_matter_there(
    repository: Repository, files: list[str], *, core: bool
) -> None:
    repository.commit(*files)
    repository.commit()
    status, made, said = repository.run()
    assert status == 0
    assert made[0] == "test"
    assert [line.startswith(CORE) for line in made[1:]] == [True] * core, said
    if not core:
        (repository.path / "hatch_build.py").write_text("not committed")
        assert len(repository.run()[1]) == 2


# Bug: where nobody knows what changed nothing is run, or the script ends in an error.
@pytest.mark.parametrize("how", ["landed", "no remote", "shallow", "no commit", "no git"])
def test_what_is_not_known_counts_as_changed(repository: Repository, how: str) -> None:
    if how == "shallow":
        repository.commit("README.md")
        path = repository.path.with_name("shallow")
        source = f"file://{repository.path}"
        repository.git("clone", "--quiet", "--depth=1", source, str(path))
        repository.path = path
    elif how == "no remote":
        repository.git("remote", "remove", "origin")
        repository.commit("README.md")
    elif how.startswith("no "):
        shutil.rmtree(repository.path / ".git")
        if how == "no commit":
            repository.git("init", "--quiet")
    status, made, said = repository.run()
    assert status == 0, said
    assert [line.startswith(CORE) for line in made] == [False, True]
    assert "the last landed commit is not known" in said


# Bug: a kernel never has its turn.
def test_kernels_take_turns(repository: Repository) -> None:
    seen = []
    for _ in KERNELS:
        repository.commit("Makefile")
        seen.append(repository.run()[1][1].removeprefix(CORE))
    assert sorted(seen) == sorted(KERNELS)


# Bugs: a failure does not fail the run, or is not the last thing that is done.
@pytest.mark.parametrize("broken", ["test", "test-core"])
def test_what_fails(repository: Repository, broken: str) -> None:
    status, made, _ = repository.run(BROKEN=broken)
    assert status != 0
    assert made[-1].split()[0] == broken


# Bugs: CI's own limit ends the run, and nobody sees where, or what had passed before; `make test`
# that was not done counts as passed; a slow machine fails a change whose tests all passed.
@pytest.mark.parametrize(("slow", "ends_with"), [("test", 1), ("test-core", 0)])
def test_the_limit(repository: Repository, slow: str, ends_with: int) -> None:
    for limit in ("2", "8", "32"):  # a busy machine may need some seconds for what is not slow
        status, made, said = repository.run(SLOW=slow, LOCALITY_CI_LIMIT=limit)
        if made and made[-1].split()[0] == slow:
            break
    assert status == ends_with
    assert made[-1].split()[0] == slow
    what = "make test" if slow == "test" else "kernel "
    assert f".ci/run: {what}" in said
    assert "not everything was tested" in said
    assert ("7 passed" in said) == (slow != "test")
