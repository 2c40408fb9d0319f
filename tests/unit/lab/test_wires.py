"""The wires of the lab: which there are, and what is chosen where taps cannot be made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from locality.commands.demo import demo
from locality.errors import LocalityError
from locality.lab import programs, wires
from locality.lab.namespaces import Namespace
from locality.lab.queue_experiment import open_queue_lab
from locality.lab.wires import VETH_LIMIT, WIRES, Wire, best_wire, lay_wire

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Namespace(1)


@pytest.fixture(params=["no file", "no device", "no program", "other program"])
def no_taps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A machine without taps; what is said of it."""
    monkeypatch.setattr(wires, "TUN", Path("/dev/null"))
    (tmp_path / "foreign").mkdir()
    foreign = tmp_path / "foreign/tap_wire"
    foreign.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xf7\x00")  # for BPF
    breakages: dict[str, tuple[str, Callable[[], None]]] = {
        "no file": (
            "No such file or directory",
            lambda: monkeypatch.setattr(wires, "TUN", tmp_path / "tun"),
        ),
        # As a device file without its driver: it is there, but cannot be opened.
        "no device": (
            "Is a directory",
            lambda: monkeypatch.setattr(wires, "TUN", tmp_path),
        ),
        "no program": (
            "tap_wire is not compiled",
            lambda: monkeypatch.setattr(wires, "PROGRAM", tmp_path / "tap_wire"),
        ),
        "other program": (
            "tap_wire was compiled for another architecture",
            lambda: monkeypatch.setattr(wires, "PROGRAM", foreign),
        ),
    }
    said, break_it = breakages[request.param]
    break_it()
    return said


# Bug: the demo fails where it could run on a veth.
def test_without_taps_a_veth_is_chosen(no_taps: str) -> None:
    assert no_taps
    assert best_wire() == "veth-rps"


# Bug: who asks for taps is not told what is missing, or what to use instead.
def test_taps_asked_for_say_what_is_missing(no_taps: str) -> None:
    with (
        pytest.raises(LocalityError, match=f"^no taps here: .*{no_taps}.*; --wire veth-rps"),
        lay_wire("tap", HERE, HERE, [0, 1]),
    ):
        pass


# Bug: an experiment that needs taps advises an option that it does not have.
def test_the_experiment_with_queues_needs_taps(
    no_taps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "require", lambda _packages: None)  # root is another matter
    with (
        pytest.raises(LocalityError, match=f"^no taps here: .*{no_taps}.*; only over them"),
        open_queue_lab(1000),
    ):
        pass


# Bug: a wire that the lab has cannot be chosen, or the reverse.
def test_the_command_offers_every_wire() -> None:
    (option,) = (each for each in demo.params if each.name == "wire_name")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == tuple(WIRES)


# Bug: the packets of a veth are taken for those of a card.
@pytest.mark.parametrize("name", WIRES)
def test_a_veth_says_what_it_cannot_show(name: str) -> None:
    wire = Wire(name)
    assert (VETH_LIMIT in wire.lines()) is (name != "tap")
    assert wire.like_card is (name == "tap")
    assert max(map(len, wire.lines())) <= 80
