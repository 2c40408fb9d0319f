"""What differs between two looks at a machine, and by whom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from locality.doctor import facts
from locality.exporter.changes import Look, changes
from tests.trees import trees

if TYPE_CHECKING:
    from pathlib import Path

QUEUES = {"eth0": (frozenset({30, 31}), 2, 2)}
BEFORE = Look(
    {
        ("irq_affinity", "eth0", "interrupt 30"): "0",
        ("irq_affinity", "eth0", "interrupt 31"): "1",
        ("rps", "eth0", "RPS of rx-0"): "0",
        ("xps", "eth0", "XPS of tx-0"): "1",
        ("group", "tcp 0.0.0.0:80", "sockets"): "2",
        ("program", "tcp 0.0.0.0:80", "program"): "cpu % 2",
    },
    QUEUES,
    {"tcp 0.0.0.0:80": frozenset({100, 101})},
    {"tcp 0.0.0.0:80": frozenset({7, 8})},
)


def after(**attributes: object) -> Look:
    values = {**BEFORE.values, **attributes.pop("values", {})}  # type: ignore[dict-item]
    return replace(BEFORE, values=values, **attributes)  # type: ignore[arg-type]


def seen(look: Look) -> list[tuple[str, str, str | None, str | None]]:
    return [(one.kind, one.cause, one.before, one.after) for one in changes(BEFORE, look)]


# Bug: what stayed as it was is told as a change each minute.
def test_nothing_changed() -> None:
    assert seen(after()) == []
    assert seen(replace(BEFORE, irqbalance=True)) == []


# Bugs: the values before and after are exchanged; irqbalance is blamed where it does not run, or
# for RPS, which it does not touch.
def test_a_setting_changed() -> None:
    values = {
        ("irq_affinity", "eth0", "interrupt 31"): "0",
        ("rps", "eth0", "RPS of rx-0"): "3",
    }
    rps = ("rps", "unknown", "0", "3")
    assert seen(after(values=values)) == [("irq_affinity", "unknown", "1", "0"), rps]
    assert seen(after(values=values, irqbalance=True)) == [
        ("irq_affinity", "irqbalance", "1", "0"),
        rps,
    ]


# Bug: the driver makes all queues anew, which sets everything back, and irqbalance is blamed.
def test_queues_were_made_anew() -> None:
    look = after(
        values={
            ("irq_affinity", "eth0", "interrupt 31"): "0-7",
            ("xps", "eth0", "XPS of tx-0"): "0",
        },
        queues={"eth0": (frozenset({30, 31, 32}), 3, 3)},
        irqbalance=True,
    )
    assert {cause for _, cause, _, _ in seen(look)} == {"driver"}


# Bugs: a file or a program that could not be read for a minute is told as a change, and once more
# when it can be read again; a change is missed because the look before it could not be made.
def test_what_could_not_be_read_is_no_change() -> None:
    group = ("program", "tcp 0.0.0.0:80", "program")
    unread = after(values={group: None, ("irq_affinity", "eth0", "interrupt 31"): None})
    assert seen(unread) == []
    later = after(values={group: "none"})
    assert [*changes(unread, later)] == []
    kept = unread.keeping(BEFORE)
    assert kept == BEFORE
    (change,) = changes(kept, later)
    assert (change.before, change.after) == ("cpu % 2", "none")


# Bug: a mask that could not be read is left out, so that each later queue seems to have got the
# mask of the queue after it, and the driver seems to have taken a queue away.
def test_a_queue_whose_xps_could_not_be_read_keeps_its_place(tmp_path: Path) -> None:
    links = trees.unpack("rps-first-queue-only", tmp_path)
    before = Look.at(facts.read(tmp_path, links), ())
    masks = [key for key in before.values if key[0] == "xps"]
    assert len({before.values[key] for key in masks}) == len(masks) == 4
    mask = tmp_path / "sys/class/net/eth0/queues/tx-1/xps_cpus"
    mask.unlink()
    mask.mkdir()  # reading fails, for root too
    after = Look.at(facts.read(tmp_path, links), ())
    assert [*changes(before, after)] == []
    assert after.queues == before.queues
    assert after.keeping(before).values == before.values


# Bugs: a reload that leaves as many sockets is not seen; a restart, which loses the program, is
# told as somebody's change of it.
def test_a_server_reloads_and_restarts() -> None:
    group = "tcp 0.0.0.0:80"
    reloaded = after(inodes={group: frozenset({7, 9})}, pids={group: frozenset({100, 102})})
    assert seen(reloaded) == [("group", "reload", "2", "2")]
    restarted = after(
        values={("program", group, "program"): "none"},
        inodes={group: frozenset({17, 18})},
        pids={group: frozenset({200, 201})},
    )
    assert seen(restarted) == [
        ("group", "restart", "2", "2"),
        ("program", "restart", "cpu % 2", "none"),
    ]
    detached = after(values={("program", group, "program"): "none"})
    assert seen(detached) == [("program", "unknown", "cpu % 2", "none")]


# Bug: a server that was stopped is two changes, or none.
def test_a_group_is_gone() -> None:
    values = {
        key: value for key, value in BEFORE.values.items() if key[0] not in {"group", "program"}
    }
    look = replace(BEFORE, values=values, pids={}, inodes={})
    assert seen(look) == [("group", "unknown", "2", None)]
    (change,) = changes(BEFORE, look)
    assert str(change) == "tcp 0.0.0.0:80: sockets: 2 -> not there"
