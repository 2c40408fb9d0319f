"""What came of each live test, in a file from which the next run goes on.

A pytest plugin: `-p tests.vm.results --results FILE`. A test is written down when it is collected,
and again when something came of it. A run that finds such a file runs only what did not pass: a
second run repeats what failed, and in a guest that died and was started again the tests go on
where they were.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

NOT_RUN, PASSED, SKIPPED, FAILED = "not run", "passed", "skipped", "failed"


@dataclass(frozen=True)
class Result:
    """One test, as a line of the file.

    Attributes:
        test: Its node id.
        subjects: What it is about, and the rung it measures on: see tests/live/conftest.py.
        rung: Empty if it has none.
        outcome: One of NOT_RUN, PASSED, SKIPPED, FAILED.
        reason: Why it was skipped.
    """

    test: str
    subjects: tuple[str, ...] = ()
    rung: str = ""
    outcome: str = NOT_RUN
    reason: str = ""


def read(text: str) -> dict[str, Result]:
    """The latest result of each test, by node id."""
    results = (Result(**json.loads(line)) for line in _whole(text).splitlines())
    return {result.test: replace(result, subjects=tuple(result.subjects)) for result in results}


def _whole(text: str) -> str:
    """Without a last line that was cut off."""
    return text[: text.rfind("\n") + 1]


class Journal:
    """Writes the results of this session below those of the sessions before."""

    def __init__(self, file: Path) -> None:
        self._file = file
        text = _whole(file.read_text()) if file.exists() else ""
        self._before = read(text)
        file.write_text(text)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out what is done."""
        done = {
            result.test for result in self._before.values() if result.outcome in {PASSED, SKIPPED}
        }
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]
        for item in items:
            if item.nodeid not in self._before:
                self._write(_result(item.nodeid, item.user_properties, NOT_RUN))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a result down; a failure after the test itself counts too."""
        if report.when == "call" or report.failed or report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            result = _result(report.nodeid, report.user_properties, report.outcome)
            self._write(replace(result, reason=reason.removeprefix("Skipped: ")))

    def _write(self, result: Result) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")


def _result(test: str, properties: list[tuple[str, object]], outcome: str) -> Result:
    subjects = tuple(str(value) for name, value in properties if name == "subject")
    rung = "".join(str(value) for name, value in properties if name == "rung")
    return Result(test, subjects, rung, outcome)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", type=Path, metavar="FILE", help="write results; go on from them")


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("results"):
        config.pluginmanager.register(Journal(file))
