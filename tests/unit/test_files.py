"""Files that a user named: made anew, and never through what somebody laid there."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from locality.errors import LocalityError
from locality.files import create, new_file

if TYPE_CHECKING:
    from pathlib import Path


# Bug: what is written says who talked to whom, and every user of the machine can read it.
def test_only_its_owner_may_read_a_new_file(tmp_path: Path) -> None:
    with new_file(tmp_path / "new") as file:
        file.write(b"secret")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").read_bytes() == b"secret"


# Bugs: root writes through a link that a user of the directory laid; a FIFO holds the program up
# until it is killed; a device is taken for a file.
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("what", ["link", "dangling link", "fifo", "directory"])
def test_nothing_is_written_through_what_lies_there(
    tmp_path: Path, what: str, *, force: bool
) -> None:
    path, target = tmp_path / "out", tmp_path / "target"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    else:
        if what == "link":
            target.write_text("precious")
        path.symlink_to(target)
    with pytest.raises(LocalityError, match="no regular file") as refusal:
        create(path, force=force)
    assert refusal.value.exit_code == 2
    assert target.exists() == (what == "link")
    assert what != "link" or target.read_text() == "precious"


# Bugs: the result of an earlier run is lost without a word; whoever has the old one open sees it
# change under their eyes; a half of a file is left as if it were one.
def test_an_old_file_is_kept_or_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(LocalityError, match="--force replaces it"), new_file(path) as file:
        file.write(b"new")
    assert path.read_text() == "old"
    with path.open() as reader, new_file(path, force=True) as file:
        file.write(b"new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    with suppress(ZeroDivisionError), new_file(tmp_path / "half") as file:
        file.write(b"half")
        file.write(bytes(1 // 0))
    assert not (tmp_path / "half").exists()


# Bug: a name from outside brings escape sequences to the terminal, or ends in a traceback.
@pytest.mark.parametrize("name", ["\x1b[31m/x", "a\0b", "\udcff/x"])
def test_odd_names_are_told_in_one_printable_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocalityError) as refusal:
        create(tmp_path / name)
    assert str(refusal.value).isprintable()
