"""The experiment on a network card with a queue for each CPU."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from locality.text import share
from tests.vm.demo_vm import experiment, phases_of
from tests.vm.kernel_images import CannotBoot, kernel_image

if TYPE_CHECKING:
    from tests.vm.guest import Ended

KERNEL = "6.12"
pytestmark = [pytest.mark.vm, pytest.mark.kernel(KERNEL)]

CPUS = 4
SECONDS = 2.0  # a phase: some hundred connections
TAIL = 20_000  # characters of a log that fit in a failure's message


@dataclass(frozen=True)
class Run:
    """A guest that ran the experiment, and its figures by phase."""

    ended: Ended
    phases: dict[str, dict[str, Any]]

    def percent(self, phase: str, part: str, whole: str) -> float:
        """A share that a phase showed."""
        percent = share(self.phases[phase][part], self.phases[phase][whole])
        assert percent is not None
        return percent


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One guest for all tests here."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    shared = tmp_path_factory.mktemp("nic")
    try:
        ended = experiment(kernel_image(KERNEL), phases_of(SECONDS), share=shared, cpus=CPUS)
    except CannotBoot as reason:
        pytest.skip(str(reason))
    figures = shared / "figures.json"
    assert figures.exists(), f"{ended.output[-TAIL:]}\nconsole:\n{ended.console[-TAIL:]}"
    return Run(ended, {each["phase"]: each for each in json.loads(figures.read_text())})


# Bugs: a program that steers by something else than the CPU of the queue's interrupt, as one
# does that is right on RPS alone; interrupts that wander; a phase that fails in silence.
def test_accepts_are_as_local_as_the_program(ran: Run) -> None:
    assert ran.ended.status == 0, ran.ended.output
    assert 10 <= ran.percent("before", "accept_local", "accepts") <= 40
    assert ran.percent("after", "accept_local", "accepts") >= 99
    assert ran.percent("reversed", "accept_local", "accepts") <= 1
    assert ran.percent("map", "accept_local", "accepts") >= 99
    assert 10 <= ran.percent("detach", "accept_local", "accepts") <= 40
    for phase in ran.phases.values():
        assert phase["accepts"] > 100
        assert phase["lost"] == 0
        assert set(phase["errors"]) <= {"timeout"}  # slow, which is no wonder here


# Bug: the alloc CPU is taken for another on a real card, whose driver makes the sk_buff (over
# veth it is the sender's), so packets do not follow what the accepts do.
def test_packets_follow(ran: Run) -> None:
    assert 10 <= ran.percent("before", "delivered_local", "delivered") <= 40
    assert ran.percent("after", "delivered_local", "delivered") >= 98
    assert ran.percent("reversed", "delivered_local", "delivered") <= 2
    before, after = (ran.percent(phase, "rx_local", "rx") for phase in ("before", "after"))
    assert after >= 98
    assert before <= after - 10


# Bugs: all load on one queue, where any program looks right; the card's hash not set up;
# interrupts of a queue on other CPUs than its own.
def test_every_queue_was_used_and_interrupted_its_own_cpu(ran: Run) -> None:
    for phase in ran.phases.values():
        for queue, by_cpu in enumerate(phase["interrupts"]):
            others = sum(by_cpu) - by_cpu[queue]
            assert (by_cpu[queue] > 0, others) == (True, 0), phase["interrupts"]
        for received in phase["received"]:
            assert received >= sum(phase["received"]) / CPUS / 2, phase["received"]
