"""`locality trial`: what is refused before it begins, and what is kept when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from locality.commands.trial_request import check_record, show_result
from locality.errors import LocalityError
from tests.unit.trial.test_recording import whole

if TYPE_CHECKING:
    from pathlib import Path


# Bugs: with --force a recording in no directory, or through a link, is refused only when the trial
# is over; a file that is to be replaced is gone before that.
@pytest.mark.parametrize("force", [False, True])
def test_a_recording_that_cannot_be_written_is_refused_first(
    tmp_path: Path,
    force: bool,  # noqa: FBT001
) -> None:
    link, there = tmp_path / "link", tmp_path / "there"
    link.symlink_to(there)
    for path in (tmp_path / "none" / "x", link, tmp_path):
        with pytest.raises(LocalityError, match="cannot write"):
            check_record(path, force=force)
    check_record(there, force=force)
    assert not there.exists()
    there.write_text("earlier")
    if force:
        check_record(there, force=True)
    else:
        with pytest.raises(LocalityError, match="--force replaces it"):
            check_record(there, force=False)
    assert there.read_text() == "earlier"


# Bug: a disk that is full when the trial is over takes its result.
def test_a_result_is_printed_before_it_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LocalityError, match="cannot write"):
        show_result(whole(), "text", tmp_path / "none" / "x", force=False)
    assert capsys.readouterr().out
