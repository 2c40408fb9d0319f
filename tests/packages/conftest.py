"""What is installed, and the page of what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.packages.page import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="session")
def deb(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("deb")
    command = [sys.executable, "-m", "install.debian", str(wheel), str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="session")
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """What is written to ``--table`` at the end."""
    found = Page()
    yield found
    if (table := request.config.getoption("--table")) and found.rows:
        place = Path(table)
        earlier = place.read_text(encoding="utf-8") if place.exists() else ""
        place.write_text(found.text(earlier), encoding="utf-8")
