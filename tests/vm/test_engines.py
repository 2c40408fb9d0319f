"""`--engine bcc` where it can run: in guests with Debian's kernels and their headers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.vm.guest import run
from tests.vm.kernel_images import CannotBoot, kernel_headers, kernel_image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.vm

KERNELS = ("5.10", "6.1")
TIMEOUT = 1500
TAIL = 20_000  # characters of a log that fit in a failure's message

# The guest has this machine's files below /run/host, cached.
COMMAND = """
export BCC_KERNEL_SOURCE=/run/host{headers}
python -m pytest tests/vm/engines.py -p no:cacheprovider --color=no --durations=5
"""


# What it would catch stands at each test of tests/vm/engines.py.
@pytest.mark.parametrize("kernel", KERNELS)
def test_engines_agree(kernel: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root")
    try:
        command = COMMAND.format(headers=kernel_headers(kernel))
        ended = run(kernel_image(kernel), command, share=tmp_path, timeout=TIMEOUT)
    except CannotBoot as reason:
        pytest.skip(str(reason))
    assert ended.status == 0, f"{ended.output[-TAIL:]}\nconsole:\n{ended.console[-TAIL:]}"
    assert " passed" in ended.output
