"""All that `locality fleet` says: the questions asked, and the answers put together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from locality.errors import LocalityError
from locality.fleet import questions
from locality.fleet.causes import Cause
from locality.fleet.changes import Changes, changes
from locality.fleet.effects import Outcome, outcomes
from locality.fleet.hosts import Answers, Host, Price, fleet_price, hosts_of
from locality.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from locality.fleet.engine import Engine

#: Which measure the hosts are ranked by, if most have several: the first one.
MEASURES = ("reads", "accepts", "datagrams", "packets received", "packets sent")
RANKS = ("back", "local")


@dataclass(frozen=True)
class Asked:
    """What is wanted.

    Attributes:
        days: The days to look at, in order.
        before: The days to compare with, in order; empty for none.
        measure: One of `MEASURES`; None: the one that most hosts have.
        by: One of `RANKS`: by what could be got back, or by the local share.
    """

    days: tuple[date, ...]
    before: tuple[date, ...] = ()
    measure: str | None = None
    by: str = RANKS[0]


@dataclass(frozen=True)
class Shared:
    """A cause, and the hosts that have it.

    Attributes:
        cause: Of their worst server.
        server: What that server is on all of them: ``nginx, tcp port 80``.
        port: Its port; None: not known.
        hosts: The worst one first.
    """

    cause: Cause
    server: str
    port: int | None
    hosts: tuple[Host, ...]


@dataclass(frozen=True)
class Fleet:
    """What a fleet's recordings say.

    Attributes:
        asked: What was wanted, with the measure that was chosen.
        hosts: Hosts with this measure, ranked.
        others: How many hosts have recordings, but none with this measure.
        price: What a remote read costs on a host of this fleet; None: not known.
        shared: Causes, the one with the most hosts first.
        changes: Against the days before; None if there are none.
        outcomes: What trials show.
        lost: Events that were missed.
    """

    asked: Asked
    hosts: tuple[Host, ...]
    others: int
    price: Price | None
    shared: tuple[Shared, ...]
    changes: Changes | None
    outcomes: tuple[Outcome, ...]
    lost: int


def before(days: Sequence[date], ago: int) -> tuple[date, ...]:
    """The same days, so many days ago."""
    return tuple(day - timedelta(days=ago) for day in days)


def study(engine: Engine, asked: Asked, there: Iterable[date]) -> Fleet:
    """Ask all questions.

    Args:
        engine: Where.
        asked: What is wanted.
        there: The days that the data set has.

    Raises:
        LocalityError: The engine refuses, or no host has such a measure.
    """
    answers = answers_of(engine, asked.days)
    measure = asked.measure or _most_frequent(answers)
    price = fleet_price(answers)
    found = hosts_of(answers, measure, price)
    if not found:
        raise LocalityError(f"no host has recordings of {measure} on these days")
    earlier = tuple(day for day in asked.before if day in set(there))
    compared = None
    if earlier:
        old = answers_of(engine, earlier, shares_alone=True)
        compared = changes(hosts_of(old, measure, None), found)
    ranked = tuple(sorted(found, key=_by_back if asked.by == RANKS[0] else _by_local))
    lost = sum(int(row["lost"] or 0) for row in answers.periods if row["measure"] == measure)
    return Fleet(
        asked=replace(asked, measure=measure, before=earlier),
        hosts=ranked,
        others=len(answers.hosts) - len(ranked),
        price=price,
        shared=shared(ranked),
        changes=compared,
        outcomes=tuple(outcomes(answers.effects)),
        lost=lost,
    )


def answers_of(engine: Engine, days: Sequence[date], *, shares_alone: bool = False) -> Answers:
    """What the engine says of some days."""
    facts = engine.facts(days)

    def ask(question: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = engine.ask(getattr(questions, question)(facts))
        return rows

    require_usable(ask("unusable"))
    shares, periods, hosts = (ask(name) for name in ("shares", "periods", "hosts"))
    if shares_alone:
        return Answers(shares, periods, hosts)
    rest = (ask(name) for name in ("servers", "evidence", "prices", "effects"))
    return Answers(shares, periods, hosts, *rest)


def require_usable(rows: Sequence[dict[str, Any]]) -> None:
    """Refuse a data set with rows that no export wrote.

    Args:
        rows: The answer to `questions.unusable`.

    Raises:
        LocalityError: There are some; names their host, and what they lack.
    """
    if not rows:
        return
    row = min(rows, key=lambda one: (str(one["cluster"]), str(one["host"]), str(one["part"])))
    lacking = {name: int(row[f"no_{name}"] or 0) for name in questions.REQUIRED}
    columns = ", ".join(name for name, count in lacking.items() if count)
    host = "/".join(str(row[name]) for name in questions.HOST if row[name]) or "without a name"
    most = counted(max(lacking.values()), "row")
    raise LocalityError(
        f"the data set cannot be used: rows of {row['part']} of host {printable(host)} have no "
        f"value in {columns}, or one that is no finite number ({most}). "
        "locality export --dataset writes no such rows: remove the files of this host, and export "
        "its recordings again"
    )


def shared(hosts: Sequence[Host]) -> tuple[Shared, ...]:
    """The hosts by cause and server; those that are local, or of which none is told, left out."""
    by_cause: defaultdict[tuple[Cause, str, int | None], list[Host]] = defaultdict(list)
    for host in hosts:
        if host.cause not in {None, Cause.LOCAL, Cause.TOO_FEW}:
            by_cause[host.cause or Cause.OTHER, host.server, host.port].append(host)
    found = [Shared(*key, tuple(members)) for key, members in by_cause.items()]
    return tuple(sorted(found, key=lambda one: (-len(one.hosts), one.cause.value, one.server)))


def _most_frequent(answers: Answers) -> str:
    """The measure that most hosts have; of several, the first of `MEASURES`."""
    having: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in answers.shares:
        having[row["measure"]].add((row["cluster"], row["host"]))
    return max(MEASURES, key=lambda measure: (len(having[measure]), -MEASURES.index(measure)))


def _by_back(host: Host) -> tuple[bool, float, float, str, str]:
    """What could be got back, the most first; hosts of which that is not known come last."""
    back = host.waiting if host.waiting is not None else host.back
    known = back is not None
    value = 0.0 if back is None else back.value
    return not known, -value, host.share or 0.0, host.cluster, host.name


def _by_local(host: Host) -> tuple[bool, float, str, str]:
    return host.share is None, host.share or 0.0, host.cluster, host.name
