"""The file for node_exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Gauge

from locality.errors import LocalityError
from locality.exporter.metrics import PortLabels
from locality.exporter.textfile import TextFile, write

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


def failures(file: TextFile) -> float:
    (family,) = file.families(PortLabels(1))
    return float(family.samples[0].value)


# Bugs: a disk that is full for a moment ends an exporter that also answers by HTTP; each interval
# logs the same line; what fails again later is not told; nobody can alert on it.
def test_a_write_that_fails_is_told_once_and_counted(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    directory = tmp_path / "there"
    told: list[str] = []
    file = TextFile(directory / "locality.prom", told.append, alone=False)
    for _ in range(2):
        file.write(registry)
    assert (len(told), failures(file)) == (1, 2)
    directory.mkdir()
    file.write(registry)
    assert (directory / "locality.prom").exists()
    (directory / "locality.prom").unlink()
    directory.rmdir()
    file.write(registry)
    assert (len(told), failures(file)) == (2, 3)
    assert told[0].startswith("--textfile: cannot write ")


# Bug: an exporter whose only output cannot be written runs on, and nobody learns of it.
def test_a_write_that_fails_ends_what_only_writes(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    file = TextFile(tmp_path / "nowhere/locality.prom", pytest.fail, alone=True)
    with pytest.raises(LocalityError, match="cannot write"):
        file.write(registry)
