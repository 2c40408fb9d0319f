"""How a user names a network namespace, and what is said to what is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from locality.errors import LocalityError
from locality.machine.namespaces import network_namespace

OURS = Path("/proc/self/ns/net").stat().st_ino


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A directory like /run/netns: a link serves as well as a mount."""
    (tmp_path / "web").symlink_to("/proc/self/ns/net")
    (tmp_path / "pids").symlink_to("/proc/self/ns/pid")
    (tmp_path / "gone").touch()
    return tmp_path


# Bugs: a pid is taken for an inode; the initial namespace, whose inode has a number of its own on
# new kernels, is refused.
def test_each_way_leads_to_the_same(names: Path) -> None:
    for text in (str(OURS), str(os.getpid()), "web"):
        assert network_namespace(text, names=names) == OURS


# Bug: the number of a namespace is taken for a pid, and its namespace is another one.
@pytest.mark.parametrize("inode", [0xEFFFFFF9, 4026531840, 4026531840 + 833, 0xFFFFFFFF])
def test_an_inode_is_itself(inode: int) -> None:
    assert network_namespace(str(inode)) == inode


# Bugs: a traceback, or a message that does not say what to do; a name that leads out of the
# directory of names; a namespace of another kind.
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4194303", "there is no process 4194303: pgrep"),
        ("0", "neither a pid nor the inode"),
        ("9" * 400, "99999999… is neither"),
        ("9" * 5000, "99999999… is neither"),  # int() refuses more than 4300
        ("nowhere", "there is no network namespace 'nowhere' in "),
        ("gone", "gone is not a network namespace"),
        ("pids", "pids is not a network namespace"),
        ("../self", "'../self' is no name of a network namespace"),
        ("..", "'..' is no name"),
        ("", "'' is no name"),
        ("-1", "there is no network namespace '-1'"),
        ("a\nb", r"there is no network namespace 'a\\nb'"),
    ],
)
def test_what_is_none(text: str, said: str, names: Path) -> None:
    with pytest.raises(LocalityError) as error:
        network_namespace(text, names=names)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# Bug: a process that may not be asked passes for one that is not there.
def test_a_process_that_may_not_be_asked(tmp_path: Path) -> None:
    (tmp_path / "7").touch()  # ENOTDIR stands for EACCES, which root never gets
    with pytest.raises(LocalityError, match="cannot see the network namespace of process 7"):
        network_namespace("7", proc=tmp_path)
