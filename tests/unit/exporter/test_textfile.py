"""The file for node_exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Gauge

from locality.errors import LocalityError
from locality.exporter.textfile import write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("known", "A metric.", registry=registry).set(7)
    return registry


# Bugs: the other user that node_exporter is cannot read it; something else lies beside it.
def test_it_is_replaced_whole(tmp_path: Path, registry: CollectorRegistry) -> None:
    file = tmp_path / "locality.prom"
    for _ in range(2):
        write(registry, file)
        assert file.read_text().endswith("known 7.0\n")
        assert file.stat().st_mode & 0o777 == 0o644
        assert [*tmp_path.iterdir()] == [file]


# Bug: as root, what a link points to is written over.
def test_a_link_is_not_written_through(tmp_path: Path, registry: CollectorRegistry) -> None:
    victim, file = tmp_path / "victim", tmp_path / "locality.prom"
    victim.write_text("mine")
    file.symlink_to(victim)
    write(registry, file)
    assert victim.read_text() == "mine"
    assert not file.is_symlink()


# Bug: where it cannot be written an unfinished file stays, or a traceback is shown.
def test_a_directory_is_in_the_way(tmp_path: Path, registry: CollectorRegistry) -> None:
    file = tmp_path / "locality.prom"
    file.mkdir()
    with pytest.raises(LocalityError, match=r"locality\.prom"):
        write(registry, file)
    assert [*tmp_path.iterdir()] == [file]
