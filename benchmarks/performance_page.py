"""What `make bench` prints and writes: a page of ratios, and a CSV file of every figure."""

from __future__ import annotations

import csv
import io
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
    "a": "Time from exec to attached",
    "b": "Memory while tracing",
    "c": "CPU time for each accepted connection",
    "d": "Lost events",
    "e": "Run time of the probes for each packet",
    "f": "Slow-down of nginx and of a TCP ping-pong",
    "g": "How costs grow with the number of events and CPUs",
}

#: The header of performance.csv.
CSV_COLUMNS = ("where", "part", "figure", "median", "low", "high", "unit")

#: Titles of the parts by their module. `python -m benchmarks NAME` runs the other parts.
PARTS = {
    "floors": "Floors",
    "lab": "nginx in many short turns, ours alone",
    "tracers": "Accepted connections",
    "calls": "Events at a steady rate",
    "counting": "Packets",
    "pingpong": "A TCP ping-pong, ours alone",
}

#: By question: how a floor was measured, and why a goal is missed.
_FLOORS = {
    "a": """\
The floor is a Python that imports click and numpy, loads `libbpf.so.1`, and does nothing with it.
What is above it is our own modules and the time in which the kernel verifies the programs.""",
    "b": "The floor is the same Python.",
    "c": """\
The floor is a loop in C that writes lines of the same fields by `printf(3)` and does nothing else:
no ring, no counting. Where it is above a goal, no tool that formats its lines one by one with
`printf` can reach the goal. `locality` can be below it, because it makes the lines of a whole
batch at once with numpy. In the guests connections come slowly, so each reading of the ring brings
few, and what a reading costs is shared by few lines: (g) has the cost of one among ten times as
many.""",
    "e": """\
The floor is 0, for the time of empty programs is taken away already. The ports count at the free
alone. `locality skb` also counts where a packet was consumed, for each pair of CPUs, and dropped
packets apart. For this it has a program more for each packet, and looks up more maps. On an
emulated CPU a look-up costs more, compared with the rest, than on a real one.""",
    "f": """\
The floor is that of empty programs on the same hooks. Many programs cost their caller more by being
there than by what they do: a program on a tracepoint of system calls makes every system call of the
machine take the longer way, and `accept` has no other hook where the kernel refuses kprobes and
fentry. *Short turns* are rounds of 0.2 s with all contestants in turns, which tell a percent; the
other rows have few rounds, and differences of some percent in them mean nothing.""",
}

_METHOD = """\
**Where each tool ran.** A tool runs on this machine if the kernel allows it. bcc's tools and
bpftrace's kprobe scripts need kprobes; bpftrace's tracepoint scripts do not. A bcc program that
reads kernel structures needs headers of the running kernel. The bcc program of part (d) reads
none, so it was compiled with the headers of Debian's 6.1. Tools that cannot run on this machine
ran in guests with Debian's 6.1 and its headers.

**The CPUs of the guests are emulated.** Times from a guest do not apply to real CPUs. Ratios
within one guest do, as far as emulation slows all tools equally; it slows a compiler more than
it slows the kernel. Compare different guests by ratios only.

**The tools.** `bcc tcpaccept` is the distribution's tool, unchanged. `benchmarks/peers` has
ports of the accept script and of locality.stp from 2017, and says what they count. `locality
skb` counts more than they do, on more hooks. *ns above empty programs* is the run time of all
hooks of a tool, less the run time of empty programs on the same hooks. `--engine bcc` is
`locality`, compiled by bcc. bpftrace's accept script hooks `inet_csk_accept`, where file
descriptors are not known, so its lines are shorter.

**How it was measured.** Each tool runs alone, is started by exec, and writes to a file. CPU
time of processes is from /proc/PID/stat, run time of BPF programs from the kernel's bpf_stats.
A program with one thread on each CPU connects to itself and accepts; *lost* counts its
connections that the tool did not print. Rounds with and without a tool alternate (A B B A). For
rounds without it, `locality` is detached, kprobes of the other tools are disarmed, and bpftrace
scripts on tracepoints are stopped.
"""


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
    """docs/generated/performance.md.

    Args:
        found: What the run wrote as JSON.
        lines: The comparisons made from it.
    """
    goals = [line for line in lines if line.met is not None]
    met = sum(bool(line.met) for line in goals)
    yield from (
        "# What locality costs, compared with bcc and bpftrace",
        "",
        "`make bench` wrote this page and overwrites it.",
        "[performance.csv](performance.csv) has every figure that was measured.",
        "What it costs a server is in the rows *here* of (b), memory, and (f), slow-down.",
        "",
        *_method(found),
        *_missing(found),
        "## Ratios",
        "",
        f"{met} of {len(goals)} goals were met.",
        "A ratio below 1 x means that `locality` costs less. Each value is a median.",
        "Brackets give the middle half of the rounds, if there were several: a slow-down whose",
        "brackets contain 0 % is within the noise. Goals are the project's own. A *floor* is what",
        "it costs to do the least: the text under a table says how, and why goals are missed.",
        "",
    )
    for letter, question in QUESTIONS.items():
        asked = [line for line in lines if line.letter == letter]
        if not asked:
            continue
        yield from (f"### ({letter}) {question}", "")
        yield from ("| figure | where | value | floor | goal |", "|---|---|--:|--:|---|")
        for line in asked:
            figure = line.figure
            verdict = line.verdict.replace("MISSED", "**missed**")
            floor = "" if line.floor is None else number(line.floor)
            value = _value(figure)
            yield f"| {figure.name} | {SHORT[line.place]} | {value} | {floor} | {verdict} |"
        yield ""
        if letter in _FLOORS:
            yield from (_FLOORS[letter], "")


def figures_csv(found: Mapping[str, Any]) -> str:
    """docs/generated/performance.csv: every figure of a run.

    Args:
        found: What the run wrote as JSON.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for place, name in SHORT.items():
        benchmarks = found["places"].get(place, {}).get("benchmarks", {})
        for part, figures in benchmarks.items():
            for figure in figures:
                several = len(figure["values"]) > 1
                low, high = map(number, figure["middle_half"]) if several else ("", "")
                median, unit = number(figure["median"]), figure["unit"]
                row = (name, PARTS.get(part, part), figure["name"], median, low, high, unit)
                writer.writerow(row)
    return file.getvalue()


def _method(found: Mapping[str, Any]) -> Iterator[str]:
    for place, name in PLACES.items():
        if place in found["places"]:
            machine = found["places"][place]["machine"]
            cpus = f"{machine['cpus']} CPU{'' if machine['cpus'] == 1 else 's'}"
            yield f"- {name}: Linux {machine['kernel']}, {cpus}"
    here = found["places"].get(HERE, {}).get("machine", {})
    if here:
        yield f"- processor of this machine: {here['processor']}, Python {here['python']}"
    yield from (
        f"- measured on commit {found['commit']}; the whole run took {found['seconds']:.0f} s",
        "",
        _METHOD,
    )


def _missing(found: Mapping[str, Any]) -> Iterator[str]:
    """What was left out of the run, and why."""
    if GUEST in found["places"]:
        yield from _absent(found["places"][GUEST]["benchmarks"])
    for place, reason in found["missing"].items():
        yield from (f"Left out: {PLACES[place]}: {reason}", "")


def _absent(benchmarks: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    names = {figure["name"] for figures in benchmarks.values() for figure in figures}
    absent = [who for who in EVERYBODY if f"{START}: {who}" not in names]
    if absent:
        names_ = ", ".join(absent)
        yield from (f"Left out of the guest, because time ran out or it failed: {names_}.", "")


def _value(figure: Figure) -> str:
    value = f"{number(figure.median)} {figure.unit}".strip()
    if len(figure.values) == 1:
        return value
    low, high = map(number, figure.middle)
    return f"{value} ({low} … {high})"
