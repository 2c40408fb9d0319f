"""Errors in words."""

from __future__ import annotations

import errno
import os

import pytest

from locality.errors import LocalityError, Unsupported, in_words


# Bugs: an error without a text says nothing; the number of an errno, or the type of an error that
# was expected, is shown.
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LocalityError("port 80: nothing listens"), "port 80: nothing listens"),
        (Unsupported("no kprobes"), "no kprobes"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "/proc/x"), "Permission denied"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (OSError(), "OSError: "),
        (OverflowError("too many"), "OverflowError: too many"),
    ],
)
def test_errors_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words
