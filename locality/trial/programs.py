"""Commands of the user's: those that switch a setting, and those that print a figure.

A command is split into words as a shell would (shlex) and run without a shell: no variables, no
pipes, no redirections. It runs in the directory /, with nothing on its standard input, and in a
session of its own, so that Ctrl-C at the terminal ends the trial and not the command half-way.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Literal

from locality.errors import LocalityError
from locality.text import printable, shortened
from locality.trial.observation import Outcome

#: A command that takes longer is ended, and has failed.
LONGEST_S = 60.0
#: Of what it prints.
_MOST_BYTES = 1 << 16

_METRIC = re.compile(r"(?P<name>[^=:]+)(?::(?P<better>lower|higher))?=(?P<command>.+)", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command as it was given, and its words."""

    text: str
    argv: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        """Split a command into words.

        Raises:
            LocalityError: A quotation is not closed, or there is no word.
        """
        try:
            argv = tuple(shlex.split(text))
        except ValueError as error:
            raise LocalityError(f"the command {text!r}: {error}", exit_code=2) from None
        if not argv:
            raise LocalityError("an empty command does nothing: name a program", exit_code=2)
        return cls(text, argv)

    def __str__(self) -> str:
        return self.text

    def run(self) -> str:
        """Run it to its end and return what it printed.

        Raises:
            LocalityError: It could not be started, failed, or took too long; with the last line
                that it printed.
        """
        # Files, not pipes: a daemon that the command leaves behind may hold a pipe for ever.
        with TemporaryFile() as printed, TemporaryFile() as complained:
            status = self._wait(printed, complained)
            if status:
                lines = _read(complained).splitlines() or ["it printed no reason"]
                said = next((line for line in reversed(lines) if line.strip()), lines[-1])
                raise LocalityError(
                    f"{self.text}: exit status {status}: {shortened(printable(said))}"
                )
            return _read(printed)

    def _wait(self, printed: IO[bytes], complained: IO[bytes]) -> int:
        try:
            with subprocess.Popen(
                self.argv,
                cwd="/",
                env=os.environ,  # the user's, without what `locality.cli` adds for numpy
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=complained,
                start_new_session=True,
            ) as process:
                try:
                    return process.wait(LONGEST_S)
                except subprocess.TimeoutExpired:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    raise LocalityError(
                        f"{self.text}: not done after {LONGEST_S:g} s, so it was ended"
                    ) from None
        except OSError as error:
            raise LocalityError(f"cannot run {self.argv[0]}: {error.strerror}") from None
        except ValueError as error:  # a zero byte in a word
            raise LocalityError(f"cannot run {self.text!r}: {error}") from None


def _read(output: IO[bytes]) -> str:
    """The beginning of what was printed, which is all of what is a number."""
    output.seek(0)
    return output.read(_MOST_BYTES).decode(errors="replace")


@dataclass(frozen=True)
class Metric:
    """A number that a command prints, as an outcome of each block."""

    name: str
    better: Literal["lower", "higher"]
    command: Command

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read ``NAME=COMMAND``, ``NAME:higher=COMMAND`` or ``NAME:lower=COMMAND``.

        Raises:
            LocalityError: It is none of these.
        """
        match = _METRIC.fullmatch(text)
        if match is None or not match["name"].strip().isprintable():
            raise LocalityError(
                f"the metric {text!r} has no name or no command: write NAME='COMMAND', or "
                "NAME:higher='COMMAND' where more is better",
                exit_code=2,
            )
        better: Literal["lower", "higher"] = "higher" if match["better"] == "higher" else "lower"
        return cls(match["name"].strip(), better, Command.parse(match["command"]))

    def outcome(self) -> Outcome:
        """What is compared.

        Raises:
            LocalityError: An outcome cannot have this name.
        """
        try:
            return Outcome(self.name, "", self.better)
        except ValueError as error:
            raise LocalityError(f"--metric: {error}: choose another name", exit_code=2) from None

    def read(self) -> float:
        """Run the command and read the number.

        Raises:
            LocalityError: It failed, or printed something else.
        """
        printed = self.command.run().strip()
        try:
            number = float(printed)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise LocalityError(
                f"{self.command}: it printed {shortened(printable(printed))!r}, and not one number"
            )
        return number
