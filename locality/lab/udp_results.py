"""The scaling experiment's results as a table and lines for people, and as JSON for programs."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from locality import __version__
from locality.files import new_file
from locality.machine.topology import format_cpu_list
from locality.text import percent, printable, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from locality.lab.udp_cases import Case, Figures, Result
    from locality.lab.udp_control import ControlResult
    from locality.lab.udp_experiment import UdpLab

MOST_SHARES = 4
"""Of more sockets the table shows the smallest and the largest share."""

BUSY = 0.2
"""From this share of waiting on, rates are those of a busy machine."""

UDP_NOTES = (
    "size: bytes of the IP packet. kpps and Gbit/s: IP packets read by the workers,",
    "median of the rounds. k per CPU s: thousands read in a second of the workers'",
    "CPU time; other load on the machine changes this little. sockets: percent of the",
    "datagrams that the kernel gave to each socket. local: received on the CPU of the",
    "worker that reads. buffer: dropped because the socket's buffer was full; link:",
    "dropped before a socket was chosen (backlog, ring); both in % of those sent.",
)


def result_table(results: Sequence[Result]) -> Table:
    """One row for each case; those of a refused steering have nothing but its name."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in ("N", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("steering", "flows"):
        table.add_column(heading, no_wrap=True)
    for heading in ("kpps", "Gbit/s", "k per\nCPU s"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("sockets", no_wrap=True)
    for heading in ("local", "buffer", "link"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in results:
        case = one.case
        name = (str(case.sockets), str(case.size), case.steering, case.flows)
        figures = one.figures
        if figures is None:
            table.add_row(*name, "refused", style="dim")
            continue
        sent = figures.account.sent
        table.add_row(
            *name,
            f"{figures.read_pps / 1000:.1f}",
            f"{one.gigabits:.2f}",
            _thousands(figures.per_cpu_second),
            shares_text(figures.shares),
            percent(share(figures.local, figures.known)),
            percent(share(sum(figures.account.buffer_drops), sent)),
            percent(share(figures.account.link_dropped, sent)),
        )
    return table


def _thousands(value: float) -> str:
    """Thousands; ``?`` where nothing could be divided."""
    return "?" if math.isnan(value) else f"{value / 1000:.0f}"


def shares_text(shares: Sequence[float]) -> str:
    """``50 50``, or ``12..14`` of many sockets; nothing where nothing arrived."""
    if any(each != each for each in shares):  # noqa: PLR0124 - nan
        return ""
    if len(shares) <= MOST_SHARES:
        return " ".join(f"{each:.0f}" for each in shares)
    return f"{min(shares):.0f}..{max(shares):.0f}"


def notes(results: Sequence[Result]) -> Iterator[str]:
    """What the table cannot say: refusals, and datagrams that nobody counted."""
    refusals = dict.fromkeys((one.case.steering, one.refused) for one in results if one.refused)
    for steering, refused in refusals:
        yield f"{steering} cannot be used here: {printable(refused)}"
    for one in results:
        if one.figures is None:
            continue
        account, name = one.figures.account, case_name(one.case)
        if account.refused:
            yield f"{name}: the kernel took {account.refused} datagrams less than were to be sent"
        if account.unaccounted:
            yield f"{name}: {account.unaccounted:+} datagrams sent are not accounted for"
        if account.unaccounted_forwarded:
            yield (
                f"{name}: {account.unaccounted_forwarded:+} datagrams forwarded are not "
                "accounted for"
            )
    forwarded = [one.figures.account for one in results if one.figures]
    if forwarded:
        total = sum(account.forwarded for account in forwarded)
        sunk = sum(account.sunk for account in forwarded)
        yield from _confirmed(results)
        yield f"forwarded {total:,} datagrams, {sunk:,} reached the sink"
        yield from _busy([one.figures for one in results if one.figures])


def _busy(measured: Sequence[Figures]) -> Iterator[str]:
    """A warning where the workers had to wait for their CPUs."""
    ran = sum(figures.cpu_seconds for figures in measured)
    waited = sum(figures.waited_seconds for figures in measured)
    if waited > BUSY * (ran + waited):
        yield (
            f"workers ran for {ran:.1f} s and waited {waited:.1f} s for a CPU:\n"
            "ignore this run's rates; shares and CPU cost remain valid"
        )


def _confirmed(results: Sequence[Result]) -> Iterator[str]:
    """What `locality udp` counted of the same datagrams."""
    both = [
        (one.figures.account, one.figures.traced)
        for one in results
        if one.figures and one.figures.traced
    ]
    if not both:
        yield "locality udp cannot count here: no rung for it (see locality check)"
        return
    read = sum(sum(account.read) for account, _ in both)
    seen = sum(sum(traced.datagrams) for _, traced in both)
    lost = sum(traced.lost for _, traced in both)
    yield (
        f"the workers read {read:,} datagrams, locality udp ({both[0][1].rung}) {seen:,}"
        + (f", {lost:,} lost" if lost else "")
    )


def case_name(case: Case) -> str:
    """A case in words."""
    flows = "one flow" if case.flows == "one" else "many flows"
    return f"N={case.sockets}, {case.size} bytes, {case.steering}, {flows}"


def case_line(number: int, total: int, one: Result) -> Text:
    """A case in one line, as soon as it is over."""
    if one.figures is None:
        return Text(f"{number}/{total} {case_name(one.case)}: refused")
    return Text(
        f"{number}/{total} {case_name(one.case)}: {one.figures.read_pps / 1000:.1f} kpps, "
        f"sockets {shares_text(one.figures.shares)}"
    )


def control_lines(results: Sequence[ControlResult]) -> Iterator[str]:
    """Where the keep-alives of a control session went, a line for each steering.

    Wrong port: the answers went to the random port, from which nobody had sent.
    """
    yield "control session, keep-alives among data of their own 4-tuple, by socket:"
    for one in results:
        if one.read is None:
            yield f"  {one.steering:<8} cannot be used here: {printable(one.refused)}"
            continue
        verdict = "holds" if one.one_socket else "BREAKS"
        why = "" if one.answered else ": wrong port"
        yield (
            f"  {one.steering:<8} {verdict:<7} {counts_text(one.read):<10} "
            f"{one.answered} of {one.sent} answered{why}"
        )


def counts_text(counts: Sequence[int]) -> str:
    """``105 95``, or ``20..31`` of many sockets."""
    if len(counts) <= MOST_SHARES:
        return " ".join(map(str, counts))
    return f"{min(counts)}..{max(counts)}"


def circumstances(lab: UdpLab, *, flood: bool) -> Iterator[str]:
    """What is measured, and what must be known to read it."""
    workers, senders = (format_cpu_list(cpus) for cpus in (lab.cpus, set(lab.sender_cpus)))
    how = "as fast as it can" if flood else "as fast as datagrams are read"
    yield f"workers on CPUs {workers}, a socket each; sender on {senders}, {how}"
    yield (
        f"from {lab.shared_from} sockets on sender and workers share CPUs: compare "
        "steerings at one N"
    )


def write_json(found: dict[str, Any], path: Path) -> None:
    """Write what `to_json` found.

    Raises:
        LocalityError: The file cannot be written.
    """
    with new_file(path, force=True) as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())


def to_json(
    lab: UdpLab,
    results: Sequence[Result],
    control: Sequence[ControlResult],
    *,
    flood: bool,
) -> dict[str, Any]:
    """Everything, with its circumstances."""
    return {
        "version": __version__,
        "host": printable(platform.node()),
        "kernel": printable(platform.release()),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "worker_cpus": list(lab.cpus),
        "sender_cpus": list(lab.sender_cpus),
        "flood": flood,
        "cases": [case_json(one) for one in results],
        "control": [
            {
                "steering": one.steering,
                "sent": one.sent,
                "read": one.read,
                "answered": one.answered,
                "one_socket": one.one_socket,
                "refused": one.refused or None,
            }
            for one in control
        ],
    }


def case_json(one: Result) -> dict[str, Any]:
    """A case and its figures; the counts are those of the whole case, not of the windows."""
    case = one.case
    found: dict[str, Any] = {
        "sockets": case.sockets,
        "steering": case.steering,
        "flows": case.flows,
        "size": case.size,
        "refused": one.refused or None,
    }
    if one.figures is not None:
        found |= {"gbit_per_s": one.gigabits} | _figures_json(one.figures)
    return found


def _figures_json(figures: Figures) -> dict[str, Any]:
    account = figures.account
    return {
        "seconds": figures.seconds,
        "read_pps": figures.read_pps,
        "rounds_read_pps": figures.rounds,
        "cpu_seconds": figures.cpu_seconds,
        "waited_seconds": figures.waited_seconds,
        "sent": account.sent,
        "send_refused": account.refused,
        "read": account.read,
        "buffer_drops": account.buffer_drops,
        "link_dropped": account.link_dropped,
        "unaccounted": account.unaccounted,
        "forwarded": account.forwarded,
        "forward_dropped": account.forward_dropped,
        "sunk": account.sunk,
        "unaccounted_forwarded": account.unaccounted_forwarded,
        "shares": [None if each != each else each for each in figures.shares],  # noqa: PLR0124 - nan
        "rx_cpus": {str(cpu): count for cpu, count in figures.rx_cpus.items()},
        "local": figures.local,
        "known": figures.known,
        "locality_udp": figures.traced and asdict(figures.traced),
    }
