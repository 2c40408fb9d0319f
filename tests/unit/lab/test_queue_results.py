"""Figures of the experiment with unequal RX CPUs, from turns made up here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from locality.cli import cli
from locality.lab.queue_experiment import HASH, SPILL, Figures
from locality.lab.queue_load import Answers
from locality.lab.queue_results import LoadResult, conclusions, rows, turn_line
from locality.spill.bound import Bound

if TYPE_CHECKING:
    from pathlib import Path


def turn(
    steering: str, *milliseconds: float, local: int = 1, failed: int = 0, lost: int = 0
) -> Figures:
    times = np.array(milliseconds) / 1e3
    answers = Answers(times, np.zeros(len(times), np.int64), Counter({"TIMEOUT": failed}))
    return Figures(steering, 2, answers, len(times), local, lost, 3, (0.5, 0.5))


def result(load: float, *turns: Figures) -> LoadResult:
    made = LoadResult(load, 0.8, 100.0, Bound(2, "measured"))
    for one in turns:
        made.turns[one.steering].append(one)
    return made


# Bug: the file for the results cannot be written, which is told when minutes of measuring are over.
@pytest.mark.parametrize("experiment", ["spill", "trial", "udp"])
def test_a_file_in_no_directory_is_refused_at_once(tmp_path: Path, experiment: str) -> None:
    out = tmp_path / "none" / "results.json"
    done = CliRunner().invoke(cli, ["lab", experiment, "-o", str(out)])
    assert done.exit_code == 2
    assert "there is no directory" in done.output


# Bug: a goal that cannot be reached is not seen to be one.
@pytest.mark.parametrize(("load", "most"), [(0.5, 100.0), (1.0, 100.0), (1.6, 70.0)])
def test_what_can_be_local(load: float, most: float) -> None:
    assert result(load).most_local == pytest.approx(most)


# Bugs: the mean of the rounds, in which one bad round hides four; the share of one round; failures
# or overflows of the last round alone.
def test_rows_have_medians_of_the_rounds() -> None:
    turns = [
        turn(HASH, *[ms] * 4, local=local, failed=1) for ms, local in ((5, 1), (9, 2), (90, 3))
    ]
    (row,) = rows(result(0.9, *turns))
    assert row == ("90%", "100.0%", "hash", "50.0%", "9.0", "9.0", "5.0..90.0", "9.0", "9", "3")


# Bugs: a round in which nothing was answered makes a figure of all rounds `nan`, or its share 0 %;
# accepts that the probe lost are not told.
def test_what_is_not_known_is_a_question_mark() -> None:
    nothing = turn(HASH, local=0, failed=5, lost=3)
    (row,) = rows(result(0.9, nothing))
    assert row[3:8] == ("?", "?", "?", "?..?", "?")
    (row,) = rows(result(0.9, nothing, turn(HASH, 4)))
    assert row[3:8] == ("100.0%", "4.0", "4.0", "4.0..4.0", "4.0")
    line = turn_line(1, 2, 0.9, nothing)
    assert line == "1/2 load 90 %, hash: ? local, p99 ? ms (client late ? ms), 3 accepts lost"
    assert result(0.9, nothing, turn(SPILL, 4)).wins(HASH) == 0


# Bug: rounds are compared that met other arrivals.
def test_rounds_are_compared_in_pairs() -> None:
    made = result(0.9, turn(HASH, 5), turn(SPILL, 4), turn(SPILL, 9), turn(HASH, 8))
    assert made.wins(HASH) == 1
    first, second = conclusions([made])
    assert "of 2 rounds the p99 of spill was below hash's in 1" in first
    assert second == "  spill 2: measured"
