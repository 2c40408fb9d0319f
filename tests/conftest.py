"""What every test shares: live tests need root and a kernel that takes BPF programs."""

import os
from collections.abc import Generator

import pytest

from locality.accept.source import AcceptSource
from locality.errors import LocalityError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/vm, here because pytest takes options from the topmost conftest only."""
    group = parser.getgroup("kernels")
    group.addoption(
        "--kernels",
        metavar="LIST",
        default="",
        help="whole kernels: run all live tests on these (tools/boot --help lists them; host, or "
        "all), and whatever else boots them (default: only the core of the live tests, on one "
        "kernel)",
    )
    group.addoption(
        "--core",
        action="store_true",
        help="of the live tests run only the core on each of the --kernels: minutes, not an hour",
    )
    group.addoption(
        "--packages",
        action="store_true",
        help="also install locality on bare Debian systems, which are downloaded",
    )
    group.addoption(
        "--table", metavar="FILE", help="write the page of what was tested (docs/generated) to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let hypothesis assert no time: a machine may be busy with something else."""
    if config.pluginmanager.hasplugin("hypothesispytest"):
        # Not in guests, which have no use for it: emulated, importing it takes half a minute.
        from hypothesis import settings  # noqa: PLC0415

        settings.register_profile("untimed", deadline=None)
        settings.load_profile("untimed")


def _why_not_live() -> str | None:
    """Why no live test can run here, or None."""
    if os.geteuid() != 0:
        return "not root"
    try:
        AcceptSource().close()
    except LocalityError as error:
        return str(error)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip live tests where they cannot run; with LOCALITY_REQUIRE_LIVE=1 let them fail."""
    for item in items:
        if "packages" in item.path.parts and not item.config.getoption("--packages"):
            item.add_marker(pytest.mark.skip(reason="--packages is not given"))
    live = [item for item in items if item.get_closest_marker("live")]
    if not live or os.environ.get("LOCALITY_REQUIRE_LIVE") == "1":
        return
    if reason := _why_not_live():
        for item in live:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a live or VM test into a failure where skips are forbidden."""
    report = yield
    if (
        report.skipped
        and os.environ.get("LOCALITY_REQUIRE_LIVE") == "1"
        and (item.get_closest_marker("live") or item.get_closest_marker("vm"))
    ):
        reason = str(call.excinfo.value) if call.excinfo else "skipped"
        if not reason.startswith("limitation:"):
            report.outcome = "failed"
            report.longrepr = f"skipped, though LOCALITY_REQUIRE_LIVE=1: {reason}"
    return report
