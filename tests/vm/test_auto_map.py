"""Eight RX queues, four workers: `--map auto` keeps every connection on its core."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.vm.demo_vm import experiment
from tests.vm.kernel_images import CannotBoot, kernel_image

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = "6.12"
pytestmark = [pytest.mark.vm, pytest.mark.kernel(KERNEL)]

CPUS, LAYOUT = 8, "sockets=2,cores=2,threads=2"
WORKERS = (0, 2, 4, 6)  # on one thread of each core
SECONDS = 4.0  # a phase: some hundred connections
TAIL = 20_000  # characters of a log that fit in a failure's message


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/vm/auto_map.py counted."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    share: Path = tmp_path_factory.mktemp("map")
    workers = ",".join(map(str, WORKERS))
    command = ("tests.vm.auto_map", "--workers", workers, "--seconds", str(SECONDS))
    try:
        ended = experiment(kernel_image(KERNEL), command, share=share, cpus=CPUS, layout=LAYOUT)
    except CannotBoot as reason:
        pytest.skip(str(reason))
    assert ended.status == 0, f"{ended.output[-TAIL:]}\nconsole:\n{ended.console[-TAIL:]}"
    figures: dict[str, Any] = json.loads((share / "figures.json").read_text())
    return figures


def percent(phase: dict[str, Any], *distances: str) -> float:
    """The share of connections at these distances."""
    near = sum(int(phase["distances"][one]) for one in distances)
    return 100 * near / int(phase["accepts"])


# Bugs: a CPU without a worker is given one of another core; the map is made for the group's
# size or by index, as `cpu % 4` is; queues that nothing arrives on, with which any map is right.
def test_every_connection_stays_on_its_core(seen: dict[str, Any]) -> None:
    for phase in (seen["hash"], seen["cpu"], seen["map"]):
        assert phase["lost"] == 0
        assert all(phase["received_by"][:CPUS]), phase
    assert percent(seen["hash"], "cpu", "core") < 50
    assert percent(seen["cpu"], "cpu", "core") < 50
    assert percent(seen["map"], "cpu", "core") == 100, seen["map"]
    assert 20 < percent(seen["map"], "cpu") < 80


# Bug: a worker starves although there are enough RX CPUs.
def test_every_worker_has_work(seen: dict[str, Any]) -> None:
    accepted_by = seen["map"]["accepted_by"]
    assert {cpu for cpu, count in enumerate(accepted_by) if count} == set(WORKERS)


# Bug: the remedy promises workers that are not there, or not what the map then does.
def test_explain_predicts_what_the_map_does(seen: dict[str, Any]) -> None:
    causes = {one["cause"]: one for one in seen["explain"]["causes"]}
    assert set(causes) == {"no_worker", "no_program"}
    predicted = causes["no_program"]["remedy"]["predicted_percent"]
    # Which CPU a connection falls on is chance: three standard deviations of two counts.
    counts = (seen["explain"]["accepted"], seen["map"]["accepts"])
    chance = 3 * 50 * sum(1 / count for count in counts) ** 0.5
    assert abs(predicted - percent(seen["map"], "cpu")) <= 2 + chance
