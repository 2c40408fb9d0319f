"""Which kernels the tests run on, and the table of what came of the live tests there.

A test that boots a guest names a kernel, by its parameter `kernel` or by its marker `kernel`, and
runs if `--kernels` names that one too. The tests that name none, the core, run if nothing is asked
for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm.compatibility import page, table
from tests.vm.kernel_images import SOURCES, CannotBoot
from tests.vm.live_tests import CORE, HOST, TAIL, WHOLE, Outcome, run_live_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = (*SOURCES, HOST)


class Kernels:
    """Boots a kernel when the first test asks for it and keeps the outcome for the others."""

    def __init__(self, asked: Sequence[str], select: str = WHOLE) -> None:
        self.asked = asked
        self.select = select
        self.shares: dict[str, Path] = {}
        self.ran: dict[str, Outcome] = {}

    def want(self, item: pytest.Item) -> bool:
        """Whether a test is to run."""
        if item.get_closest_marker("vm") is None:
            return True
        kernel = _kernel(item)
        return not self.asked if kernel is None else kernel in self.asked

    def outcome(self, kernel: str, factory: pytest.TempPathFactory) -> Outcome:
        """What the live tests left on this kernel; the test is skipped if it cannot boot."""
        if kernel not in self.ran:
            try:
                self.shares[kernel] = factory.mktemp(f"kernel-{kernel}-", numbered=True)
                self.ran[kernel] = run_live_tests(kernel, self.shares[kernel], self.select)
            except CannotBoot as reason:
                pytest.skip(str(reason))
        return self.ran[kernel]


def _kernel(item: pytest.Item) -> str | None:
    """The kernel that a test names."""
    if marker := item.get_closest_marker("kernel"):
        return str(marker.args[0])
    return item.callspec.params.get("kernel") if hasattr(item, "callspec") else None


KERNELS = pytest.StashKey[Kernels]()


def pytest_configure(config: pytest.Config) -> None:
    text: str = config.getoption("kernels")
    asked = ALL if text == "all" else tuple(filter(None, text.split(",")))
    if unknown := set(asked) - set(ALL):
        raise pytest.UsageError(f"no kernel {unknown}: choose from {', '.join(ALL)}, or all")
    config.stash[KERNELS] = Kernels(asked, CORE if config.getoption("core") else WHOLE)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "outcome" in metafunc.fixturenames:
        metafunc.parametrize("kernel", ALL, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the kernels that nobody asked for: a guest takes minutes."""
    kernels = config.stash[KERNELS]
    left_out = [item for item in items if not kernels.want(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if kernels.want(item)]


@pytest.fixture(scope="session")
def outcome(
    kernel: str, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    return pytestconfig.stash[KERNELS].outcome(kernel, tmp_path_factory)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table; write it where it was asked for, if every kernel is in it."""
    kernels = config.stash[KERNELS]
    if not kernels.asked and terminalreporter.stats.get("deselected"):
        terminalreporter.write_line("left out: whole kernels, and guests of their own; --kernels")
    for kernel in kernels.shares.keys() - kernels.ran.keys():
        log = kernels.shares[kernel] / "log"
        terminalreporter.section(f"{kernel} was not finished")
        terminalreporter.write_line(log.read_text(errors="replace")[-TAIL:] if log.exists() else "")
    if not kernels.ran:
        return
    terminalreporter.section("kernels")
    columns = [one.column for one in kernels.ran.values()]
    terminalreporter.write(table(columns))
    for one in kernels.ran.values():
        terminalreporter.write_line(f"{one.release}: {one.ended.seconds:.0f} s")
    if file := config.getoption("table"):
        if set(kernels.ran) == set(kernels.asked):
            earlier = Path(file).read_text() if Path(file).exists() else ""
            Path(file).write_text(page(columns, earlier))
            terminalreporter.write_line(f"written to {file}")
        else:
            terminalreporter.write_line(f"{file} not written: not every kernel ran")
