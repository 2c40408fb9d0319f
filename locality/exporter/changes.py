"""What was changed between two looks at a machine's settings and groups, and probably by whom."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from locality.cbpf.describe import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from locality.doctor.facts import Machine
    from locality.reuseport.survey import FoundGroup

UNKNOWN = "unknown"
#: Kinds of changes, and who may have made them as far as it can be told.
CAUSES: Mapping[str, tuple[str, ...]] = {
    "irq_affinity": ("irqbalance", "driver", UNKNOWN),
    "rps": ("driver", UNKNOWN),
    "xps": ("driver", UNKNOWN),
    "group": ("restart", "reload", UNKNOWN),
    "program": ("restart", "reload", UNKNOWN),
}

Key = tuple[str, str, str]
"""Kind, owner (a device, a group), and what of it: ``rx-3``, an interrupt, nothing."""


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        kind: Of `CAUSES`.
        cause: One of those of its kind.
        subject: What was changed, in words.
        before: What it was; None if it was not there.
        after: What it is now; None if it is gone.
    """

    kind: str
    cause: str
    subject: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        by = "" if self.cause == UNKNOWN else f" (probably {_WORDS[self.cause]})"
        return f"{self.subject}: {_shown(self.before)} -> {_shown(self.after)}{by}"


_WORDS = {
    "irqbalance": "by irqbalance, which runs here",
    "driver": "the driver made its queues anew",
    "restart": "the server was started anew",
    "reload": "the server reloaded",
}


def _shown(value: str | None) -> str:
    return "not there" if value is None else value or "nothing"


@dataclass(frozen=True)
class Look:
    """What one look at a machine showed of what may change.

    Attributes:
        values: By key, the value in words; None where it could not be read.
        queues: By device, its interrupts and how many queues it has.
        pids: By group, the processes that hold its sockets.
        inodes: By group, its sockets.
        irqbalance: Whether it runs.
    """

    values: Mapping[Key, str | None]
    queues: Mapping[str, object] = field(default_factory=dict)
    pids: Mapping[str, frozenset[int]] = field(default_factory=dict)
    inodes: Mapping[str, frozenset[int]] = field(default_factory=dict)
    irqbalance: bool = False

    @classmethod
    def at(cls, machine: Machine, groups: Iterable[FoundGroup]) -> Look:
        """Of what was read of a machine, and its groups."""
        values: dict[Key, str | None] = {}
        queues: dict[str, object] = {}
        for device in machine.devices:
            for one in device.interrupts:
                key = "irq_affinity", device.name, f"interrupt {one.number}"
                values[key] = one.allowed.text if one.allowed else None
            for place, queue in enumerate(device.rx):
                mask = queue.rps_cpus.text if queue.rps_cpus else None
                values["rps", device.name, f"RPS of rx-{place}"] = mask
            for place, xps in enumerate(device.xps):
                values["xps", device.name, f"XPS of tx-{place}"] = xps.text if xps else None
            numbers = frozenset(one.number for one in device.interrupts)
            queues[device.name] = numbers, len(device.rx), len(device.xps)
        pids: dict[str, frozenset[int]] = defaultdict(frozenset)
        inodes: dict[str, frozenset[int]] = defaultdict(frozenset)
        for group in groups:
            if group.shares:
                name = f"{group}" if group.netns is None else f"{group} (netns {group.netns})"
                pids[name] |= group.pids
                inodes[name] |= group.inodes
                values["program", name, "program"] = _program(group)
        for name, sockets in inodes.items():
            values["group", name, "sockets"] = f"{len(sockets)}"
        return cls(values, queues, dict(pids), dict(inodes), machine.irqbalance is not None)

    def keeping(self, before: Look) -> Look:
        """With what could not be read now as it was: it is compared when it can be read again."""
        values = {
            key: before.values.get(key) if value is None else value
            for key, value in self.values.items()
        }
        return replace(self, values=values)


def _program(group: FoundGroup) -> str | None:
    """The program of a group in words; None if it is not known whether there is one."""
    if group.group.program is not None:
        return describe(group.group.program)
    if group.group.ebpf is not None:
        return f"eBPF program {group.group.ebpf.name}"
    return {None: None, True: "a program that is not shown", False: "none"}[group.group.attached]


def changes(before: Look, after: Look) -> Iterator[Change]:
    """What differs, by kind.

    A group whose sockets were all replaced has changed, even if there are as many as before. One
    that is new, or is gone, is one change and not two. What could not be read once did not change
    as far as is known.
    """
    for key in sorted(before.values.keys() | after.values.keys()):
        kind, owner, what = key
        old, new = before.values.get(key), after.values.get(key)
        if any(look.values.get(key, "") is None for look in (before, after)):
            continue
        if kind == "program" and (old is None or new is None):
            continue
        replaced = kind == "group" and before.inodes.get(owner) != after.inodes.get(owner)
        if old == new and not replaced:
            continue
        subject = f"{owner}: {what}"
        if old == new:
            subject = f"{owner}: other sockets"
        yield Change(kind, _cause(kind, owner, before, after), subject, old, new)


def _cause(kind: str, owner: str, before: Look, after: Look) -> str:
    if kind in {"group", "program"}:
        old, new = before.inodes.get(owner), after.inodes.get(owner)
        if not old or not new or old == new:
            return UNKNOWN
        both = before.pids.get(owner, frozenset()) & after.pids.get(owner, frozenset())
        return "reload" if both else "restart"
    if before.queues.get(owner) != after.queues.get(owner):
        return "driver"
    return "irqbalance" if kind == "irq_affinity" and after.irqbalance else UNKNOWN
