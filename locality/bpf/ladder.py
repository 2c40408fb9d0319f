"""The ladder: which kind of probe a measurement uses.

A measurement can be made by several kinds of probe ("rungs"), best first. What a
kernel allows is found by trying: the real programs are loaded and attached, and the
kernel's refusal is kept as the reason. No version number is ever asked.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from locality.bpf import btf
from locality.bpf.engine import Engine, core
from locality.errors import LocalityError, Unsupported
from locality.machine.capabilities import missing_for_probes
from locality.machine.limits import require_room

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from locality.bpf.engine import Kernel
    from locality.bpf.object import Object


class Rung(NamedTuple):
    """One way to make a measurement.

    Attributes:
        name: fentry, kprobe, tracepoint or raw-tracepoint.
        programs: Chooses the programs to load, by what the kernel has.
            Raises `Unsupported` with the reason where there is something this rung
            cannot do without.
        note: What the numbers of this rung do not show; empty if nothing.
    """

    name: str
    programs: Callable[[Kernel], tuple[str, ...]]
    note: str = ""

    def noting(self, more: str) -> Rung:
        """The same rung, whose note says this as well; an empty text adds nothing."""
        return self._replace(note="; ".join(filter(None, (self.note, more))))


class Refusal(NamedTuple):
    """A rung that could not be used.

    Attributes:
        reason: What was tried and what the answer was.
        answer: The answer alone.
    """

    rung: str
    reason: str
    answer: str


class Attachment(NamedTuple):
    """What a measurement attached: its object, its rung, and the rungs refused before.

    Attributes:
        left_out: Why the programs asked for beside it are missing; empty if they are not.
        engine: What made the object fit this kernel, core or bcc.
        why: Why it was that engine; empty where there was no choice.
    """

    obj: Object
    rung: Rung
    programs: tuple[str, ...]
    refused: tuple[Refusal, ...]
    engine: str = "core"
    why: str = ""
    left_out: str = ""

    @property
    def name(self) -> str:
        """The rung, and the engine if it is not the usual one: what outputs call it."""
        return self.rung.name if self.engine == "core" else f"{self.rung.name} ({self.engine})"


def require_rung(only: str | None, names: Collection[str]) -> None:
    """Raise `LocalityError` if a rung is asked for that is none of these."""
    if only is not None and only not in names:
        known = ", ".join(names)
        raise LocalityError(f"there is no rung {only!r} here: use one of {known}", exit_code=2)


def attach_best(
    rungs: Sequence[Rung],
    open_object: Callable[[], Object],
    only: str | None = None,
    engine: Engine | None = None,
    beside: tuple[str, ...] = (),
) -> Attachment:
    """Load and attach on the first rung that this kernel allows.

    Args:
        rungs: The ladder, best first.
        open_object: Opens and configures the object; called again after each that was loaded.
        only: Try just this rung.
        engine: Opens the objects and knows the kernel; core by default.
        beside: Programs to load with those of a rung, which does without if they are refused.

    Raises:
        Unsupported: No rung was allowed; the message has every reason.
        OSError: This process may not open as many files as probes take.
    """
    require_rung(only, [rung.name for rung in rungs])
    engine = engine or core(why="")
    refused: list[Refusal] = []
    with closing(_Objects(open_object)) as objects:
        for rung in rungs:
            if only not in {None, rung.name}:
                continue
            try:
                programs = rung.programs(engine.kernel)
                obj, left_out = _attached_with(objects, programs, beside)
            except Unsupported as refusal:
                refused.append(Refusal(rung.name, str(refusal), refusal.answer))
                continue
            told = rung.noting(engine.note)
            chosen = (told, programs, tuple(refused))
            return Attachment(obj, *chosen, engine.name, engine.why, left_out)
    if missing := missing_for_probes():
        raise Unsupported(
            f"probes need CAP_BPF and CAP_PERFMON (before Linux 5.8: CAP_SYS_ADMIN), and this "
            f"process has no {' and no '.join(missing)}: run it as root"
        )
    require_room()
    if engine.name == "core":
        btf.require_kernel_types()
    by_reason: dict[str, list[str]] = {}
    for rejected in refused:
        by_reason.setdefault(rejected.reason, []).append(rejected.rung)
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    raise Unsupported(f"no probe type works on this kernel: {reasons}")


class _Objects:
    """Objects to attach programs of; one of which nothing was loaded is taken again."""

    def __init__(self, open_object: Callable[[], Object]) -> None:
        self._open = open_object
        self._unused: Object | None = None

    def with_programs(self, programs: tuple[str, ...]) -> Object:
        """An object of which these programs can be had here, as far as that is known beforehand."""
        obj = self._unused = self._unused or self._open()
        obj.select(programs)
        self._unused = None
        return obj

    def close(self) -> None:
        """Give back what was not used."""
        if self._unused:
            self._unused.close()


def _attached_with(
    objects: _Objects, programs: tuple[str, ...], beside: tuple[str, ...]
) -> tuple[Object, str]:
    """An object with these programs attached, and why not with those beside them."""
    obj = objects.with_programs(programs)
    if not beside:
        return _attached(obj, programs), ""
    try:
        return _attached(obj, (*programs, *beside)), ""
    except Unsupported as refusal:
        return _attached(objects.with_programs(programs), programs), str(refusal)


def _attached(obj: Object, programs: tuple[str, ...]) -> Object:
    try:
        obj.select(programs)
        obj.load()
        obj.attach(programs)
    except BaseException:
        obj.close()
        raise
    return obj
