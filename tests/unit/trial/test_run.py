"""Whether arm B is kept when a trial has ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from locality.changes.kernel import FileChange
from locality.changes.system import KernelFiles, System
from locality.errors import LocalityError
from locality.trial import restoring, run
from locality.trial.by_blocks import ByBlocks
from locality.trial.observation import A, B, Design, Outcome, Trial, units_dtype
from locality.trial.run import why_not_kept
from locality.trial.schedule import Blocks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COST = Outcome("cost", "us", primary=True)
RATE = Outcome("rate", "1/s", "higher")
PAIRS = 30
SYSCTL = "/proc/sys/net/core/skb_defer_max"
REFUSED = "/proc/sys/net/core/rps_sock_flow_entries"


def trial(cost: float, rate: float) -> Trial:
    """A trial whose arm B has so many times the cost and the rate of A."""
    draw = np.random.default_rng(1)
    units = np.zeros(2 * PAIRS, units_dtype((COST, RATE)))
    units["pair"] = np.repeat(np.arange(PAIRS), 2)
    units["arm"] = np.tile([A, B], PAIRS)
    units["time"] = np.arange(2 * PAIRS)
    for name, times in (("cost", cost), ("rate", rate)):
        units[name] = 100 * draw.lognormal(0, 0.01, 2 * PAIRS)
        units[name][units["arm"] == B] *= times
    design = Design("blocks", ("as it is", "tried"), 2 * PAIRS, 1, 1.0, 0.1, lives_s=0.0)
    return Trial(design, (COST, RATE), units, units[:0], restored=True)


# Bugs: B is kept though it is worse in something, though nothing was shown, or after harm.
@pytest.mark.parametrize(
    ("cost", "rate", "kept"),
    [(0.9, 1.0, True), (0.9, 1.1, True), (0.9, 0.9, False), (1.1, 1.1, False), (1.0, 1.0, False)],
)
def test_only_what_is_better_and_nowhere_worse_is_kept(
    cost: float, rate: float, *, kept: bool
) -> None:
    found = trial(cost, rate)
    assert (why_not_kept(found) == "") == kept
    for ended in ({"harm": "overflows"}, {"ended_early": True}, {"restored": False}):
        assert why_not_kept(replace(found, **ended))


# Bug: B is put back, and nobody says which outcome was the reason.
def test_why_it_is_not_kept() -> None:
    assert why_not_kept(trial(0.9, 0.9)) == f"worse in {RATE.label}"
    assert why_not_kept(trial(1.1, 1.0)) == f"{COST.label}: worse"


@dataclass
class Commands:
    """A switch of two commands, some of which fail."""

    failing: Sequence[int] = ()
    ran: list[int] = field(default_factory=list)
    arms: tuple[str, str] = ("a", "b")
    changes: tuple[()] = ()
    programs: tuple[()] = ()

    def to(self, arm: int) -> None:
        self.ran.append(arm)
        if arm in self.failing:
            raise LocalityError(f"{self.arms[arm]}: exit status 1")


def by_blocks(switch: Commands, said: list[str]) -> Any:  # noqa: ANN401 - as far as it is needed
    """A trial by blocks that switches, without anything to look at."""
    reporter = SimpleNamespace(say=said.append, smallest=lambda _trial: None)
    safety = SimpleNamespace(begin=lambda: None, judge=None)
    asked = SimpleNamespace(aa_s=0.0, seed=1, metrics=(), undo_file=None)
    trying: Any = object.__new__(ByBlocks)
    trying.session = SimpleNamespace(asked=asked, reporter=reporter, safety=safety, target="")
    trying.switch, trying.outcomes, trying.blocks = switch, (COST,), Blocks(1.0, 0.1, 6)
    trying._lives_s, trying._draw = 0.0, np.random.default_rng(1)  # noqa: SLF001
    return trying


# Bug: nobody reads what a trial prints, or a file cannot be opened, and the command of arm B stays.
@pytest.mark.parametrize("ended", [BrokenPipeError, LocalityError])
def test_whatever_ends_blocks_the_command_of_a_is_run(
    ended: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_given: object) -> None:
        raise ended("gone")

    monkeypatch.setattr(ByBlocks, "_run", end)
    switch = Commands()
    with pytest.raises(ended):
        by_blocks(switch, []).run()
    assert switch.ran == [A]


# Bugs: the command that is to be kept fails half-way and is left there; that A's failed too is
# called put back.
@pytest.mark.parametrize(
    ("failing", "kept", "restored"), [((), "b", False), ((B,), None, True), ((A, B), None, False)]
)
def test_a_command_that_cannot_be_kept(
    failing: Sequence[int], kept: str | None, *, restored: bool
) -> None:
    switch, said = Commands(failing), list[str]()
    trying = by_blocks(switch, said)
    design = replace(trial(0.9, 1.0).design, arms=switch.arms)
    before = replace(trial(0.9, 1.0), design=design)
    reporter: Any = trying.session.reporter
    found = run._keep(before, trying, [], trying.session.asked, reporter)  # noqa: SLF001
    assert (found.kept, found.restored) == (kept, restored)
    assert switch.ran == ([B, A] if failing else [B])
    assert len(said) == len(switch.ran)


# Bug: one of the changes of arm B is refused, and the others are kept as if they were arm B.
def test_half_of_an_arm_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = tmp_path / "root" / SYSCTL.lstrip("/")
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    (tmp_path / "root" / REFUSED.lstrip("/")).write_text("0\n")
    none: dict[str, tuple[int, ...]] = {}
    files = KernelFiles(tmp_path / "root")
    system = System(files, none.__getitem__, none.__setitem__, "boot-1", "net:[1]")
    for module in (run, restoring):
        monkeypatch.setattr(module, "this_system", lambda: system)
    write = KernelFiles.write

    def refuse(files: KernelFiles, path: str, text: str) -> None:
        if path == REFUSED:
            raise OSError(22, "Invalid argument")
        write(files, path, text)

    monkeypatch.setattr(KernelFiles, "write", refuse)
    said: list[str] = []
    asked: Any = SimpleNamespace(undo_file=tmp_path / "undo.json")
    reporter: Any = SimpleNamespace(say=said.append)
    changes = [FileChange(path, "0\n", "64") for path in (SYSCTL, REFUSED)]
    trying: Any = None
    found = run._keep(trial(0.9, 1.0), trying, changes, asked, reporter)  # noqa: SLF001
    assert (found.kept, found.restored) == (None, True)
    assert setting.read_text() == "0\n"
    assert not asked.undo_file.exists()
    assert [line.partition(":")[0] for line in said] == ["not changed", "not kept"]
