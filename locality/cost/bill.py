"""What the whole machine paid beside the reads: interrupts between CPUs, and softirqs.

RPS and RFS buy locality with interrupts between CPUs: a figure of locality without them misleads.
Sources: /proc/interrupts, /proc/stat and /proc/net/softnet_stat, which count since the start of the
machine, and the counters of the CPUs (`locality.cost.pmu`). None is a figure that this machine does
not tell.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROC = Path("/proc")
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")

#: Functions without a name.
OTHER = "other"
#: What functions are called for, in words.
WORDS = {
    "sched_ttwu_pending": "wake-ups",
    "rps_trigger_softirq": "RPS",
    "trigger_rx_softirq": "deferred frees",
    "flush_tlb_func": "TLB flushes",
    "nohz_csd_func": "load balancing",
    OTHER: "others",
}

#: Lines of /proc/interrupts: of x86 by their short names, of arm64 by what they say.
_LINES = {
    "reschedulings": ("RES:", "Rescheduling interrupts"),
    "function_calls": ("CAL:", "Function call interrupts"),
    "tlb_flushes": ("TLB:", "TLB shootdowns"),
}
#: Places in a line of /proc/stat and of /proc/net/softnet_stat (softnet_seq_show).
_SOFTIRQ_TICKS, _NET_RX, _RPS_WORD = 7, 5, 9


@dataclass(frozen=True)
class Bill:
    """Counts of the whole machine, since it was started or of an interval.

    Attributes:
        interrupts: All interrupts that CPUs handled.
        softirqs: All softirqs.
        net_rx: Those that received packets.
        softirq_ns: CPU time in softirqs.
        reschedulings: Interrupts by which a CPU asked another one to choose a thread anew.
        function_calls: Interrupts by which a CPU had another one call a function.
        tlb_flushes: Those of them that flushed address translations.
        rps: Interrupts by which RPS or RFS handed packets to another CPU.
        cycles: Clock cycles of all CPUs; None without a PMU.
        cache_misses: What the last-level cache did not have; None without a PMU.
        causes: Calls of functions on other CPUs, by function; None before Linux 6.4.
    """

    interrupts: int | None = None
    softirqs: int | None = None
    net_rx: int | None = None
    softirq_ns: int | None = None
    reschedulings: int | None = None
    function_calls: int | None = None
    tlb_flushes: int | None = None
    rps: int | None = None
    cycles: int | None = None
    cache_misses: int | None = None
    causes: Mapping[str, int] | None = field(default=None)

    def _with(self, other: Bill, of: Callable[[int, int], int]) -> Self:
        found: dict[str, int | None] = {}
        for name in COUNTS:
            one, two = getattr(self, name), getattr(other, name)
            found[name] = None if one is None or two is None else of(one, two)
        causes = None
        if self.causes is not None and other.causes is not None:
            mine, others = self.causes, other.causes
            names = {**others, **mine}
            counts = {name: of(mine.get(name, 0), others.get(name, 0)) for name in names}
            causes = {name: count for name, count in counts.items() if count}
        return type(self)(**found, causes=causes)

    def __add__(self, later: Bill) -> Self:
        return self._with(later, int.__add__)

    def __sub__(self, before: Bill) -> Self:
        # A CPU that went offline takes its counts with it.
        return self._with(before, lambda one, two: max(0, one - two))


#: The plain counts.
COUNTS = tuple(one.name for one in fields(Bill) if one.name != "causes")


def read(
    causes: Mapping[str, int] | None,
    counted: Mapping[str, int | None] | None = None,
    proc: Path = PROC,
) -> Bill:
    """What the machine has counted since its start.

    Args:
        causes: As of `locality.cost.interrupts.Causes.read`; None if not known.
        counted: Cycles and cache misses, as of `locality.cost.pmu.Pmu.read`.
        proc: Where to look.
    """
    counts: dict[str, int | None] = {**(counted or {})}
    for name, parse in (
        ("interrupts", parse_interrupts),
        ("stat", parse_stat),
        ("net/softnet_stat", parse_softnet),
    ):
        try:
            counts |= parse((proc / name).read_text())
        except (OSError, ValueError, LookupError):
            continue
    return Bill(**counts, causes=causes)


def parse_interrupts(text: str) -> dict[str, int | None]:
    """The interrupts between CPUs; a line has a count for each CPU in the head line."""
    head, _, rest = text.partition("\n")
    cpus = len(head.split())
    found: dict[str, int | None] = {}
    for line in rest.splitlines():
        for name, (short, words) in _LINES.items():
            if line.lstrip().startswith(short) or line.rstrip().endswith(words):
                found[name] = sum(int(word) for word in line.split()[1 : cpus + 1])
    return found


def parse_stat(text: str) -> dict[str, int | None]:
    """Interrupts, softirqs and their CPU time (proc(5))."""
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    return {
        "interrupts": int(lines["intr"][1]),
        "softirqs": int(lines["softirq"][1]),
        "net_rx": int(lines["softirq"][_NET_RX]),
        "softirq_ns": int(lines["cpu"][_SOFTIRQ_TICKS]) * _TICK_NS,
    }


def parse_softnet(text: str) -> dict[str, int | None]:
    """Interrupts of RPS, which are counted where they arrive: hexadecimal, a line for each CPU."""
    return {"rps": sum(int(line.split()[_RPS_WORD], 16) for line in text.splitlines())}
