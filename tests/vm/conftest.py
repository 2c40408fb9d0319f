"""Which kernels the live tests run on, and the table of what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.compatibility import page, table
from tests.vm.kernel_images import SUITES, CannotBoot
from tests.vm.live_tests import HOST, Outcome, run_live_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = (*SUITES, HOST)


class Kernels:
    """Boots a kernel when the first test asks for it and keeps the outcome for the others."""

    def __init__(self, asked: Sequence[str]) -> None:
        self.asked = asked
        self.ran: dict[str, Outcome] = {}

    def outcome(self, kernel: str, factory: pytest.TempPathFactory) -> Outcome:
        """What the live tests left on this kernel; the test is skipped if it cannot boot."""
        if kernel not in self.ran:
            try:
                share = factory.mktemp(f"kernel-{kernel}-", numbered=True)
                self.ran[kernel] = run_live_tests(kernel, share)
            except CannotBoot as reason:
                pytest.skip(str(reason))
        return self.ran[kernel]


KERNELS = pytest.StashKey[Kernels]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    config = metafunc.config
    if KERNELS not in config.stash:
        text: str = config.getoption("kernels")
        asked = ALL if text == "all" else tuple(text.split(","))
        if unknown := set(asked) - set(ALL):
            raise pytest.UsageError(f"no kernel {unknown}: choose from {', '.join(ALL)}, or all")
        config.stash[KERNELS] = Kernels(asked)
    if "outcome" in metafunc.fixturenames:
        metafunc.parametrize("kernel", config.stash[KERNELS].asked, scope="session")


@pytest.fixture(scope="session")
def outcome(
    kernel: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    return pytestconfig.stash[KERNELS].outcome(kernel, tmp_path_factory)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table; write it where it was asked for, if every kernel is in it."""
    kernels = config.stash.get(KERNELS, None)
    if kernels is None or not kernels.ran:
        return
    terminalreporter.section("kernels")
    columns = [one.column for one in kernels.ran.values()]
    terminalreporter.write(table(columns))
    for one in kernels.ran.values():
        terminalreporter.write_line(f"{one.release}: {one.ended.seconds:.0f} s")
    if file := config.getoption("table"):
        if set(kernels.ran) == set(kernels.asked):
            Path(file).write_text(page(columns))
            terminalreporter.write_line(f"written to {file}")
        else:
            terminalreporter.write_line(f"{file} not written: not every kernel ran")
