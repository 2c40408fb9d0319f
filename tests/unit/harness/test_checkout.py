"""What a generated page says of the checkout that it was measured on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.checkout import commit

if TYPE_CHECKING:
    from pathlib import Path


def git(checkout: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    command = ("git", "-C", str(checkout), *identity, *words)
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


# Bugs: a page is said to be of a commit though the code was another; a page that the same run wrote
# before counts as such a change; where there is no git, no page is written at all.
def test_the_commit_and_what_was_changed(tmp_path: Path) -> None:
    assert commit(tmp_path) == "?"
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == "?"
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "docs/page.md"):
        (tmp_path / name).write_text("before")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "all")
    name = git(tmp_path, "rev-parse", "--short", "HEAD")
    (tmp_path / "docs/page.md").write_text("after")
    assert commit(tmp_path) == name
    (tmp_path / "code.py").write_text("after")
    assert commit(tmp_path) == f"{name}, with changes that are not committed"
