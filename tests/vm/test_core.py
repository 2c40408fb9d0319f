"""The core of the live tests on one other kernel: what `make test` and CI run each time.

The tests with the marker `core`, on every rung, in one guest.
"""

from __future__ import annotations

import pytest

from tests.vm.kernel_images import CannotBoot
from tests.vm.live_tests import CORE, STATUS, Outcome, run_live_tests

pytestmark = pytest.mark.vm

#: It has every rung.
KERNEL = "6.12"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    try:
        return run_live_tests(KERNEL, tmp_path_factory.mktemp("core"), CORE)
    except CannotBoot as reason:
        pytest.skip(str(reason))


# Catches: a probe that loads on the developer's kernel only, or misses an event on some rung.
def test_the_core_passes(core: Outcome) -> None:
    assert core.ended.status == STATUS, core.story
    assert core.status == "0", core.story


# Catches: a row of the table of kernels of which no test is in the core, or whose tests do not
# run there.
def test_the_core_has_a_test_of_every_subject_on_every_rung(core: Outcome) -> None:
    assert {cell.verdict for cell in core.cells.values()} == {"pass"}, core.cells
