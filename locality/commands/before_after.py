"""Count what some sockets accept or read before a change and after it. Imports on use."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from locality.commands.lines import show, tell
from locality.errors import LocalityError
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    from locality.commands.take_back import TakenBack
    from locality.machine.topology import Topology
    from locality.steering.count import Counted
    from locality.steering.watch import Watch

#: The exit status where --verify or --apply saw no improvement.
EXIT_NO_BETTER = 3


class Before(NamedTuple):
    """What some sockets accepted or read as it was counted, and what counts it again."""

    protocol: str
    watch: Watch
    counted: Counted


def count_before(
    stack: ExitStack,
    sockets: list[tuple[int, int]],
    machine: Topology,
    seconds: float,
    *,
    needed: bool,
) -> list[Before]:
    """Count what some sockets accept or read, each protocol by its own means.

    Args:
        stack: Closes the probes.
        sockets: Processes and their descriptors.
        machine: Its CPUs.
        seconds: How long to count; the protocols take turns.
        needed: Whether it is an error if it cannot be counted; else that protocol is left out.

    Raises:
        LocalityError: It cannot be counted, and is needed.
    """
    from locality.reuseport.target import bound_port
    from locality.steering.watch import watching

    ports: dict[str, set[int]] = defaultdict(set)
    for pid, fd in sockets:
        kind, port = bound_port(pid, fd)
        ports[kind].add(port)
    counted = []
    for protocol, numbers in sorted(ports.items()):
        try:
            _require_countable(protocol, numbers)
            pids = {pid for pid, _ in sockets}
            namespaces = {Path(f"/proc/{pid}/ns/net").stat().st_ino for pid in pids}
            watch = stack.enter_context(watching(machine, numbers, namespaces, protocol))
        except LocalityError:
            if needed:
                raise
            continue
        counted.append(Before(protocol, watch, watch.count(seconds)))
    return counted


def _require_countable(protocol: str, ports: set[int]) -> None:
    if protocol not in {"tcp", "udp"} or 0 in ports:
        raise LocalityError(
            "--verify counts what TCP listeners accept, and what UDP sockets read that are bound "
            "to a port: this socket is neither"
        )


def compare_with(
    before: list[Before],
    seconds: float,
    take_back: Callable[[], Iterable[TakenBack]],
    *,
    waits: bool = False,
    kept: str,
) -> None:
    """Measure again and show both.

    Args:
        before: What was counted before the change.
        seconds: How long to count.
        take_back: Undoes the change.
        waits: Judge by the waits for accept(), too.
        kept: What to say where the change stays though nothing improved.

    Raises:
        LocalityError: Something got worse, and the change was taken back as far as it could be; or
            nothing improved: exit status 3.
    """
    from locality.steering.verify import Outcome, verdict, verdict_with_waits

    judge = verdict_with_waits if waits else verdict
    before[0].watch.settle()
    outcomes: dict[Outcome, Counted] = {}
    for one in before:
        lines, outcome = judge(one.counted, one.watch.count(seconds), seconds)
        show([f"{one.protocol} {line}" if len(before) > 1 else line for line in lines])
        outcomes.setdefault(outcome, one.counted)
    if Outcome.WORSE in outcomes:
        whole = True
        # All is taken back before a line is printed: nobody may be reading.
        for line, as_it_was in [*take_back()]:
            show([printable(line)])
            whole = whole and as_it_was
        end = "the change was taken back" if whole else "not all could be taken back: see above"
        worse = f"{outcomes[Outcome.WORSE].measured.figure} got worse: {end}"
        raise LocalityError(worse, exit_code=EXIT_NO_BETTER)
    if Outcome.BETTER not in outcomes:
        was = outcomes[Outcome.NOT_SHOWN]
        why = f"{was.measured.figure} did not improve"
        if not was.total:
            why += (
                f": nothing was {was.measured.done} in {seconds:g} s, and a change acts on what "
                "comes after it"
            )
        tell(kept)
        raise LocalityError(why, exit_code=EXIT_NO_BETTER)
