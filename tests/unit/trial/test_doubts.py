"""Doubts about a trial: spoken of where there is reason, and rarely where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from locality.trial.doubts import of_connections, of_pairs, of_trial
from locality.trial.observation import B
from locality.trial.paired import pairs_of
from tests.unit.trial.made_up import WAIT, blocks, connections, trial
from validation.simulated_trials import World, by_blocks, by_connection

RUNS = 200


def about_pairs(world: World, seed: int, pairs: int = 60) -> list[str]:
    made = by_blocks(world, pairs, seed)
    return [*of_pairs(pairs_of(made.units, WAIT.label), made.design)]


# Bug: a doubt at every third trial, until nobody reads them.
def test_a_trial_without_fault_is_rarely_doubted() -> None:
    assert sum(bool(about_pairs(World(1.2), seed)) for seed in range(RUNS)) <= 0.05 * RUNS
    made = [by_connection(World(1.2), 1000, seed) for seed in range(RUNS)]
    doubted = [[*of_trial(one), *of_connections(one.units, WAIT.label, "mean")] for one in made]
    assert sum(map(bool, doubted)) <= 0.02 * RUNS


# Bug: the wash-out is too short, and nothing is said of it.
def test_what_carries_over_is_told() -> None:
    world = World(2.0, carried=0.5)
    told = [about_pairs(world, seed) for seed in range(50)]
    assert sum(any("leaves behind" in doubt for doubt in one) for one in told) >= 45
    (doubt,) = [*of_trial(by_blocks(world, 60, 1))]
    assert "live 1 s, longer than the wash-out of 0.2 s" in doubt
    assert [*of_trial(by_blocks(World(2.0), 60, 1))] == []
    made = by_blocks(world, 60, 1)
    unknown = replace(made, design=replace(made.design, lives_s=None))
    assert "not known how long" in next(of_trial(unknown))


# Bug: the effect that would last is worked out with a wrong sign.
def test_what_the_effect_would_be_for_ever() -> None:
    told = [
        doubt
        for seed in range(20)
        for doubt in about_pairs(World(2.0, carried=0.5), seed, 400)
        if "leaves behind" in doubt
    ]
    assert len(told) == 20
    lasting = [float(doubt.rpartition("about ")[2].removesuffix(" %")) for doubt in told]
    assert abs(np.mean(lasting) - 100) < 10


# Bug: the second block of each pair is always slower, and nothing is said of it.
def test_an_effect_of_the_order_is_told() -> None:
    draw = np.random.default_rng(1)
    units = blocks([(one, other) for one, other in draw.lognormal(0, 0.1, (40, 2))])
    second = np.arange(len(units)) % 2 == 1
    units[WAIT.label][second] *= 1.5
    made = trial(units)
    doubts = [*of_pairs(pairs_of(units, WAIT.label), made.design)]
    assert any("second block" in doubt for doubt in doubts)


# Bug: an effect that grows during the run is told as one figure, without a word.
def test_an_effect_that_changes_is_told() -> None:
    draw = np.random.default_rng(1)
    pairs = [
        (one, other * (1 + number / 20))
        for number, (one, other) in enumerate(draw.lognormal(0, 0.1, (60, 2)))
    ]
    units = blocks(pairs)
    doubts = [*of_pairs(pairs_of(units, WAIT.label), trial(units).design)]
    assert any("changed during the run" in doubt for doubt in doubts)
    assert any("neighbouring pairs are alike" in doubt for doubt in doubts)


# Bug: connections of one arm get lost, and what is left is compared.
def test_missing_connections_are_told() -> None:
    values = np.random.default_rng(1).exponential(1, 1000)
    units = connections(values.tolist(), values.tolist())
    lost = units[(units["arm"] != B) | (np.arange(len(units)) % 8 != 1)]
    assert "what a fair coin gives" in next(of_trial(trial(lost)))
    unknown = units.copy()
    unknown[WAIT.label][1::8] = np.nan
    assert "left out by chance" in next(of_connections(unknown, WAIT.label, "mean"))
    assert [*of_trial(trial(units)), *of_connections(units, WAIT.label, "mean")] == []


# Bug: one connection of an hour decides a mean.
def test_a_mean_that_hangs_on_one_connection_is_told() -> None:
    values = np.random.default_rng(1).exponential(1, 100)
    units = connections(values.tolist(), values.tolist())
    units[WAIT.label][7] = 1000.0
    assert "a single one of 200" in next(of_connections(units, WAIT.label, "mean"))
    assert [*of_connections(units, WAIT.label, "p50")] == []
