"""What `make bench` prints and writes: ratios first, then every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.measure import number
from benchmarks.targets import EVERYBODY, GUEST, HERE, START

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.measure import Figure
    from benchmarks.targets import Comparison

PLACES = {
    HERE: "this machine",
    GUEST: "a guest with four CPUs",
    "1": "a guest with one CPU",
    "8": "a guest with eight CPUs",
}
SHORT = {HERE: "here", GUEST: "guest", "1": "guest, 1 CPU", "8": "guest, 8 CPUs"}

QUESTIONS = {
    "a": "From exec to attached",
    "b": "Memory while tracing",
    "c": "CPU time of accepts",
    "d": "Events lost",
    "e": "Run time of the packets' probes",
    "f": "What a server and a ping-pong lose",
    "g": "How costs grow",
}

#: Parts of the run by their module; the others are told of by `python -m benchmarks NAME`.
PARTS = {
    "tracers": "Accepted connections",
    "calls": "Events at a steady rate",
    "counting": "Packets",
    "pingpong": "A TCP ping-pong, ours alone",
}


def table(lines: Sequence[Comparison]) -> Iterator[str]:
    """For the terminal."""
    for letter, question in QUESTIONS.items():
        asked = [line for line in lines if line.letter == letter]
        if not asked:
            continue
        yield f"({letter}) {question}"
        for line in asked:
            figure = line.figure
            value = f"{number(figure.median):>7} {figure.unit}"
            yield f"  {value:<18} {figure.name} ({SHORT[line.place]})"
            if line.verdict:
                yield f"  {'':<18} {line.verdict}"


def page(
    found: Mapping[str, Any],
    lines: Sequence[Comparison],
) -> Iterator[str]:
    """docs/performance.md.

    Args:
        found: What the run wrote as JSON.
        lines: What they compare to.
    """
    goals = [line for line in lines if line.met is not None]
    met = sum(bool(line.met) for line in goals)
    yield from (
        "# What it costs, beside what people would otherwise run",
        "",
        "Written by `make bench`; do not edit.",
        "",
        *_method(found),
        "## Ratios",
        "",
        f"{met} of {len(goals)} goals met. Below 1 x, ours is cheaper. Medians; in brackets the",
        "middle half of the rounds, where there were several.",
        "",
    )
    for letter, question in QUESTIONS.items():
        asked = [line for line in lines if line.letter == letter]
        if not asked:
            continue
        yield from (f"### ({letter}) {question}", "", "| | where | | |", "|---|---|--:|---|")
        for line in asked:
            figure = line.figure
            verdict = line.verdict.replace("MISSED", "**missed**")
            yield f"| {figure.name} | {SHORT[line.place]} | {_value(figure)} | {verdict} |"
        yield ""
    for place, name in PLACES.items():
        if place in found["places"]:
            yield from (f"## All figures: {name}", "")
            if place == GUEST:
                yield from _absent(found["places"][place]["benchmarks"])
            yield from _everything(found, place)
    for place, reason in found["missing"].items():
        yield from (f"Left out: {PLACES[place]}: {reason}", "")


def _method(found: Mapping[str, Any]) -> Iterator[str]:
    for place, name in PLACES.items():
        if place in found["places"]:
            machine = found["places"][place]["machine"]
            yield f"- {name}: Linux {machine['kernel']}, {machine['cpus']} CPUs"
    here = found["places"].get(HERE, {}).get("machine", {})
    if here:
        yield f"- processor here: {here['processor']}, Python {here['python']}"
    yield from (
        f"- the whole run took {found['seconds']:.0f} s",
        "",
        "**Where each ran, and why there.** This machine is asked what it allows. Without kprobes,",
        "bcc's tools cannot attach, nor can bpftrace's kprobe scripts; bpftrace's tracepoints can.",
        "Without headers of the running kernel bcc compiles nothing that reads its structures; the",
        "generator's probe reads none, and is compiled with those of Debian's 6.1. All others run",
        "in guests with that kernel and its own headers.",
        "",
        "**A guest's CPUs are emulated.** Its clock says nothing of seconds on a real CPU; ratios",
        "taken in one guest do, as far as emulation slows everybody alike. A compiler suffers",
        "more from it than the kernel does. Between guests compare ratios only.",
        "",
        "**Contestants.** `bcc tcpaccept` is the distribution's tool as it is. The ports of 2017's",
        "accept and locality.stp are in `benchmarks/peers`, which says what they count and where;",
        "ours count more on further hooks, and *ns above empty programs* is of all their",
        "hooks. `--engine bcc` is ours, compiled by bcc. On bpftrace's hook, `inet_csk_accept`,",
        "descriptors are not known: its lines are shorter than ours.",
        "",
        "**Taken how.** Each runs alone, started by exec, its output a file. CPU time is that of",
        "/proc/PID/stat, BPF programs' that of the kernel's bpf_stats. A storm is a program that",
        "connects to itself and accepts, one thread on each CPU; lost is what was made and not",
        "written. Turns with and without a tracer alternate,",
        "A B B A; ours is attached and detached, a peer's kprobes are disarmed for the turns",
        "without, and bpftrace on tracepoints is started anew.",
        "",
    )


def _absent(benchmarks: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    names = {figure["name"] for figures in benchmarks.values() for figure in figures}
    absent = [who for who in EVERYBODY if f"{START}: {who}" not in names]
    if absent:
        yield from (f"Left out, for want of time or since it failed: {', '.join(absent)}.", "")


def _value(figure: Figure) -> str:
    value = f"{number(figure.median)} {figure.unit}".strip()
    if len(figure.values) == 1:
        return value
    low, high = map(number, figure.middle)
    return f"{value} ({low} … {high})"


def _everything(found: Mapping[str, Any], place: str) -> Iterator[str]:
    for part, figures in found["places"][place]["benchmarks"].items():
        if not figures:
            continue
        yield from (f"### {PARTS.get(part, part)}", "", "| | |", "|---|--:|")
        for figure in figures:
            low, high = map(number, figure["middle_half"])
            several = f" ({low} … {high})" if len(figure["values"]) > 1 else ""
            value = f"{number(figure['median'])} {figure['unit']}".strip()
            yield f"| {figure['name']} | {value}{several} |"
        yield ""
