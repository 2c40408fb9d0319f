"""`locality fleet` for programs: one JSON object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from locality.fleet.changes import Change
    from locality.fleet.effects import Outcome
    from locality.fleet.hosts import Figure, Host, Price
    from locality.fleet.study import Fleet


def text(fleet: Fleet) -> str:
    """All of it, in a line; every host, whatever the tables show."""
    return json.dumps(record(fleet), allow_nan=False)


def record(fleet: Fleet) -> dict[str, Any]:
    """As dictionaries and lists. Shares are percent, times ns, None is what is not known."""
    asked, changes = fleet.asked, fleet.changes
    return {
        "days": [str(day) for day in asked.days],
        "before": [str(day) for day in asked.before],
        "measure": asked.measure,
        "by": asked.by,
        "lost": fleet.lost,
        "hosts_without_measure": fleet.others,
        "price": _price(fleet.price),
        "hosts": [_host(host) for host in fleet.hosts],
        "causes": [
            {
                "cause": one.cause.name.lower(),
                "words": one.cause.value,
                "server": one.server,
                "command": one.cause.remedy(one.port) or None,
                "hosts": [_named(host) for host in one.hosts],
            }
            for one in fleet.shared
        ],
        "changes": None
        if changes is None
        else {
            "compared": changes.compared,
            "not_told": changes.not_told,
            "new": changes.new,
            "gone": changes.gone,
            "worse": [_change(one) for one in changes.worse],
            "better": [_change(one) for one in changes.better],
        },
        "trials": [_outcome(one) for one in fleet.outcomes],
    }


def _named(host: Host) -> dict[str, str]:
    return {"cluster": host.cluster, "host": host.name}


def _host(host: Host) -> dict[str, Any]:
    return {
        **_named(host),
        "kernel": host.kernel,
        "cpus": host.cpus,
        "known": host.known,
        "unknown": host.unknown,
        "rate": host.rate,
        "local": _percent(host.share),
        "local_low": _percent(host.low),
        "local_high": _percent(host.high),
        "attainable": _percent(host.attainable),
        "cause": None if host.cause is None else host.cause.name.lower(),
        "server": host.server or None,
        "back_per_second": _figure(host.back),
        "price": _price(host.price),
        "back_ns_per_second": _figure(host.waiting),
    }


def _change(one: Change) -> dict[str, Any]:
    return {
        **_named(one.after),
        "before": _percent(one.before.share),
        "after": _percent(one.after.share),
        "points": one.points,
        "low": one.low,
        "high": one.high,
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    mean = None
    if one.combined is not None:
        found = vars(one.combined)
        mean = found | {"range": None if found["range"] is None else [*found["range"]]}
    return {
        "arm_a": one.arms[0],
        "arm_b": one.arms[1],
        "outcome": one.name,
        "unit": one.unit,
        "better": one.better,
        "scale": one.scale,
        "trials": one.trials,
        "hosts": one.hosts,
        "combined": mean,
        "only": None if one.only is None else [*one.only],
        "verdict": one.verdict,
    }


def _price(price: Price | None) -> dict[str, Any] | None:
    return None if price is None else {**(_figure(price.later) or {}), "own": price.own}


def _figure(figure: Figure | None) -> dict[str, float | None] | None:
    return None if figure is None else figure._asdict()


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
