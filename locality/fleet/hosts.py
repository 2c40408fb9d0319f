"""Each host of a fleet: how local it is, what could be reached, and what that would give back."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from locality.fleet.causes import Cause, Evidence, most_away
from locality.fleet.combined import combine
from locality.trial import student

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Row = dict[str, Any]

#: Of fewer hours, and of fewer bins, there is no interval.
FEWEST = 8
_LEVEL = 0.975


@dataclass(frozen=True)
class Answers:
    """What an engine says, by `locality.fleet.questions`; rows with their columns."""

    shares: Sequence[Row]
    periods: Sequence[Row]
    hosts: Sequence[Row]
    servers: Sequence[Row] = ()
    evidence: Sequence[Row] = ()
    prices: Sequence[Row] = ()
    effects: Sequence[Row] = ()


class Figure(NamedTuple):
    """A figure with its 95 % interval; low and high are None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Price:
    """How much later a remote read comes than a local one, ns.

    Attributes:
        later: With its interval; of a fleet, of the mean over hosts.
        error: The standard error that a host's figure has.
        own: Whether the host itself was measured.
    """

    later: Figure
    error: float
    own: bool = True


@dataclass(frozen=True)
class Host:
    """One host, in one measure.

    Attributes:
        cluster: Its cluster.
        name: Its name.
        kernel: Its kernel.
        cpus: Its CPUs.
        known: Events whose distance is known.
        unknown: The others.
        rate: All events a second; None if it is not known how long was measured.
        share: The local share, 0 to 1; None of nothing.
        low: The lower end of its 95 % interval; None: too few bins.
        high: The upper end.
        error: The standard error of the share.
        freedom: Its degrees of freedom.
        attainable: The share that could be local; None: not known.
        cause: Of its worst server; None: there is no evidence.
        server: That server, in words.
        port: Its port; None: not known, or it has several.
        back: Events a second that could become local.
        price: What a remote read costs; None: not known.
        waiting: What they would wait less, ns a second; only of reads.
    """

    cluster: str
    name: str
    kernel: str | None
    cpus: int | None
    known: int
    unknown: int
    rate: float | None
    share: float | None
    low: float | None
    high: float | None
    error: float | None
    freedom: int
    attainable: float | None = None
    cause: Cause | None = None
    server: str = ""
    port: int | None = None
    back: Figure | None = None
    price: Price | None = None
    waiting: Figure | None = None


@dataclass
class _Evidence:
    """The evidence of a host, by port and name."""

    by_server: dict[tuple[str, int, str], Evidence] = field(default_factory=dict)
    by_port: defaultdict[tuple[str, int], list[Evidence]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def of(self, row: Row) -> Evidence | None:
        """That of the server of a row: by its name, or else by its port."""
        protocol, port = str(row["protocol"]), int(row["port"])
        if (own := self.by_server.get((protocol, port, str(row["name"])))) is not None:
            return own
        same_port = self.by_port.get((protocol, port), [])
        return same_port[0] if len(same_port) == 1 else None


def hosts_of(answers: Answers, measure: str, price: Price | None) -> list[Host]:
    """The hosts that have a measure.

    Args:
        answers: Of an engine.
        measure: Such as ``reads``.
        price: Of a host that was not measured itself.
    """
    about = {_key(row): row for row in answers.hosts}
    seconds = {(*_key(row), row["kind"]): row["seconds"] for row in _only(answers.periods, measure)}
    prices = {_key(row): own for row in answers.prices if (own := price_of(row)) is not None}
    evidence = _evidence(answers.evidence, measure)
    servers: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in _only(answers.servers, measure):
        servers[(*_key(row), row["kind"])].append(row)
    found = []
    for row in _longest(_only(answers.shares, measure), seconds):
        key = _key(row)
        host = _measured(row, about.get(key, {}), seconds.get((*key, row["kind"])))
        host = _explained(host, servers[(*key, row["kind"])], evidence.get(key))
        if measure == "reads":
            host = _priced(host, prices.get(key, price))
        found.append(host)
    return found


def price_of(row: Row) -> Price | None:
    """A host's own price; None where there are too few bins to tell how it varies."""
    bins, total = int(row["bins"]), float(row["w"] or 0)
    if bins < FEWEST or total <= 0:
        return None
    mean = row["wd"] / total
    squares = row["wwdd"] - 2 * mean * row["wwd"] + mean**2 * row["ww"]
    error = math.sqrt(max(0.0, squares) * bins / (bins - 1)) / total
    reach = student.quantile(_LEVEL, bins - 1) * error
    return Price(Figure(mean, mean - reach, mean + reach), error)


def fleet_price(answers: Answers) -> Price | None:
    """The random-effects mean of the hosts' prices: what a host costs that was not measured."""
    own = [price for row in answers.prices if (price := price_of(row)) is not None]
    if len(own) == 1:
        return Price(own[0].later, own[0].error, own=False)
    figures = np.array([(price.later.value, price.error) for price in own], np.float64)
    mean = combine(*figures.reshape(-1, 2).T)
    if mean is None:
        return None
    # Hosts differ, so that one that was not measured is less sure than the mean.
    error = math.sqrt(mean.tau2 + mean.error**2)
    return Price(Figure(mean.mean, mean.low, mean.high), error, own=False)


def _measured(row: Row, about: Mapping[str, Any], seconds: float | None) -> Host:
    known, unknown = int(row["known"]), int(row["unknown"])
    share, error, freedom = _share(row)
    low = high = None
    if share is not None and error is not None:
        reach = student.quantile(_LEVEL, freedom) * error
        low, high = max(0.0, share - reach), min(1.0, share + reach)
    return Host(
        cluster=row["cluster"],
        name=row["host"],
        kernel=about.get("kernel"),
        cpus=about.get("cpus"),
        known=known,
        unknown=unknown,
        rate=(known + unknown) / seconds if seconds else None,
        share=share,
        low=low,
        high=high,
        error=error,
        freedom=freedom,
    )


def _share(row: Row) -> tuple[float | None, float | None, int]:
    """A ratio of sums, its standard error over hours (or bins), and the degrees of freedom."""
    local, known = float(row["local"]), float(row["known"])
    if not known:
        return None, None, 0
    share = local / known
    of = "hour" if row["hours"] >= FEWEST else "bin"
    blocks = int(row[f"{of}s"])
    if blocks < FEWEST:
        return share, None, 0
    ll, lk, kk = (float(row[f"{of}_{name}"]) for name in ("ll", "lk", "kk"))
    squares = max(0.0, ll - 2 * share * lk + share**2 * kk)
    return share, math.sqrt(squares * blocks / (blocks - 1)) / known, blocks - 1


def _explained(host: Host, servers: Sequence[Row], evidence: _Evidence | None) -> Host:
    """With its cause, and what is attainable, of the servers that have evidence."""
    if evidence is None or host.share is None:
        return host
    local = known = reachable = back = 0.0
    pairs: list[tuple[str, Evidence]] = []
    ports: dict[str, int | None] = {}
    for row in servers:
        own = evidence.of(row)
        if own is None or row["outgoing"] or own.attainable is None:
            continue
        pairs.append((_words(row), own))
        ports[_words(row)] = int(row["port"]) if row["port"] >= 0 else None
        local, known = local + row["local"], known + row["known"]
        # A server may be more local than what its evidence says can be: it was seen another time.
        could = max(row["local"], own.attainable * row["known"])
        reachable, back = reachable + could, back + could - row["local"]
    worst = most_away(pairs)
    if worst is None or not known:
        return host
    found: dict[str, Any] = {"cause": worst[1].cause, "server": worst[0], "port": ports[worst[0]]}
    if known >= host.known / 2:
        found["attainable"] = (host.share * host.known + back) / host.known
        found["back"] = _back(host, back)
    return Host(**{**vars(host), **found})


def _back(host: Host, back: float) -> Figure | None:
    """Events a second that could become local: as sure as the local share is."""
    if host.rate is None:
        return None
    each = host.rate / (host.known + host.unknown)
    value = back * each
    if host.error is None:
        return Figure(value)
    reach = student.quantile(_LEVEL, host.freedom) * host.error * host.known * each
    return Figure(value, max(0.0, value - reach), value + reach)


def _priced(host: Host, price: Price | None) -> Host:
    """With what could be got back in time."""
    found: dict[str, Any] = {"price": price}
    if price is not None and host.back is not None:
        value = host.back.value * max(0.0, price.later.value)
        found["waiting"] = Figure(value)
        if host.back.low is not None:
            # Of a product of two figures whose errors have nothing to do with each other.
            rate_error = (host.back.value - host.back.low) / student.quantile(
                _LEVEL, max(1, host.freedom)
            )
            error = math.hypot(price.later.value * rate_error, host.back.value * price.error)
            reach = student.quantile(_LEVEL, max(1, host.freedom)) * error
            found["waiting"] = Figure(value, max(0.0, value - reach), value + reach)
    return Host(**{**vars(host), **found})


def _evidence(rows: Sequence[Row], measure: str) -> dict[tuple[str, str], _Evidence]:
    """By host: that of the measure itself, or for reads that of what they belong to."""
    by_host: defaultdict[tuple[str, str], _Evidence] = defaultdict(_Evidence)
    fit = {measure, "accepts", "datagrams"} if measure == "reads" else {measure}
    for row in rows:
        if row["measure"] in fit and row["known"]:
            own, one = by_host[_key(row)], Evidence.of(row)
            own.by_server[row["protocol"], int(row["port"]), row["name"]] = one
            own.by_port[row["protocol"], int(row["port"])].append(one)
    return dict(by_host)


def _longest(rows: Sequence[Row], seconds: Mapping[tuple[str, str, str], float]) -> Iterator[Row]:
    """One row a host: of two kinds with the same measure, the one that was measured longer."""
    best: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: str(row["kind"])):
        key = _key(row)
        length = seconds.get((*key, row["kind"]), 0.0)
        if key not in best or length > seconds.get((*key, best[key]["kind"]), 0.0):
            best[key] = row
    yield from best.values()


def _only(rows: Sequence[Row], measure: str) -> list[Row]:
    return [row for row in rows if row["measure"] == measure]


def _key(row: Row) -> tuple[str, str]:
    return row["cluster"], row["host"]


def _words(row: Row) -> str:
    """A server in words."""
    port = f"{row['protocol']} port {int(row['port'])}" if row["port"] >= 0 else "all ports"
    return f"{row['name']}, {port}" if row["name"] else port
