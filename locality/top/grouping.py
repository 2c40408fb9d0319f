"""By what the reads are put together, and what a row is called."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from locality.machine.cgroups import name_of
from locality.text import printable
from locality.top.interval import remote, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from locality.arrays import Array
    from locality.top.interval import TopInterval

PROTOCOLS = {6: "tcp", 17: "udp"}


class Around(NamedTuple):
    """What a row itself does not say.

    Attributes:
        cgroups: Paths of cgroups by id, of those that could be told.
        shared: Ports that have rows in several network namespaces.
    """

    cgroups: Mapping[int, str]
    shared: frozenset[int]


@dataclass(frozen=True)
class Grouping:
    """One way to put readers together.

    Attributes:
        key: The fields of a reader that are the same in a row.
        name: What a row is called, from the row and the paths of cgroups.
        command: What to run next for a row, from what is around it; empty if there is nothing.
    """

    key: tuple[str, ...]
    name: Callable[[Any, Mapping[int, str]], str]
    command: Callable[[Any, Around], str]


def _comm(row: Any) -> str:  # noqa: ANN401 - numpy.void
    return printable(row["comm"])


def _port(row: Any, _paths: Mapping[int, str]) -> str:  # noqa: ANN401
    protocol = PROTOCOLS[int(row["protocol"])]
    if not row["outgoing"]:
        return f"{protocol} {row['port']} {_comm(row)}"
    # A UDP client that is not connected has peers of any port.
    return f"{protocol} to {row['port'] or 'any'} {_comm(row)}"


def _process(row: Any, _paths: Mapping[int, str]) -> str:  # noqa: ANN401
    return f"{_comm(row)}/{row['pid']}"


def _thread(row: Any, _paths: Mapping[int, str]) -> str:  # noqa: ANN401
    return f"{_comm(row)}/{row['tid']}"


def _cgroup(row: Any, paths: Mapping[int, str]) -> str:  # noqa: ANN401
    path = paths.get(int(row["cgroup"]))
    return f"cgroup {row['cgroup']}" if path is None else printable(name_of(path))


def _netns(row: Any, _paths: Mapping[int, str]) -> str:  # noqa: ANN401
    return f"netns {row['netns']} {_comm(row)}"


def _explain(row: Any, around: Around) -> str:  # noqa: ANN401
    if row["outgoing"]:
        # No program chooses who reads it: only settings, such as RFS, move what is received.
        return "locality doctor"
    netns = f" --netns {row['netns']}" if int(row["port"]) in around.shared else ""
    proto = " --proto udp" if PROTOCOLS[int(row["protocol"])] == "udp" else ""
    return f"locality explain --port {row['port']}{netns}{proto}"


def _of_process(row: Any, _around: Around) -> str:  # noqa: ANN401
    return f"locality top --pid {row['pid']}"


def _of_cgroup(row: Any, around: Around) -> str:  # noqa: ANN401
    path = around.cgroups.get(int(row["cgroup"]))
    if path is None or path != printable(path):
        return ""
    return f"locality top --cgroup {shlex.quote(path)}"


def _of_netns(row: Any, _around: Around) -> str:  # noqa: ANN401
    return f"locality top --netns {row['netns']}"


GROUPINGS: Mapping[str, Grouping] = {
    "port": Grouping(("netns", "port", "protocol", "outgoing"), _port, _explain),
    "process": Grouping(("pid",), _process, _of_process),
    "thread": Grouping(("pid", "tid"), _thread, _of_process),
    "cgroup": Grouping(("cgroup",), _cgroup, _of_cgroup),
    "netns": Grouping(("netns",), _netns, _of_netns),
}


def ranked(interval: TopInterval, by: str) -> Array:
    """The rows of an interval, those with the most remote reads first: dtype `READER`."""
    # The name of a row is that of its busiest reader, which comes last.
    busiest_last = interval.readers[np.argsort(interval.readers["reads"], kind="stable")]
    rows = together(busiest_last, GROUPINGS[by].key)
    return rows[np.lexsort((-rows["reads"].astype("i8"), -remote(rows).astype("i8")))]


def commands(rows: Array, by: str, cgroups: Mapping[int, str]) -> Iterator[str]:
    """What to run next for each row; empty where nothing can be said.

    Args:
        rows: Of `ranked`, all of them.
        by: The same as there.
        cgroups: Paths of cgroups by id.
    """
    served = rows[rows["outgoing"] == 0]
    places = np.unique(served[["netns", "port"]])
    ports, times = np.unique(places["port"], return_counts=True)
    around = Around(cgroups, frozenset(ports[times > 1].tolist()))
    return (GROUPINGS[by].command(row, around) for row in rows)
