"""The one exception that users see.

Everything that can go wrong for a reason outside this program (a kernel that
refuses, a process that is gone, a file that cannot be written) is raised as a
`LocalityError`. Its message is one line: what was tried, what the answer was,
what to do next. The command line prints it and exits with `exit_code`;
a library caller catches it.
"""


class LocalityError(Exception):
    """Something the user can act on.

    Args:
        message: One line without a trailing full stop where an errno text ends it.
        exit_code: The process exit status the command line should use.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Unsupported(LocalityError):  # noqa: N818 - reads as the state it names
    """This kernel, or these privileges, do not allow what was asked for.

    Args:
        message: As for every `LocalityError`.
        answer: The part of it that the kernel said; all of it by default.
    """

    def __init__(self, message: str, *, answer: str | None = None) -> None:
        super().__init__(message)
        self.answer = answer or message


def in_words(error: Exception) -> str:
    """Why something failed, in one line: one that nobody expected is told with its type."""
    if isinstance(error, LocalityError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
