"""Accepted connections as a busy server has them, for what is measured without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from locality.accept.batch import ACCEPT, WAIT_KNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.accept.batch import Records

CLIENTS = 500


def synthetic(count: int, online: Sequence[int]) -> Records:
    """Connections from some hundred clients to one server with a worker on each CPU.

    The time is left at zero. The seed is fixed, so every call gives the same ones.
    """
    chance = np.random.default_rng(2017)
    cpus = np.array(online)
    records = np.zeros(count, ACCEPT)
    worker = chance.integers(len(cpus), size=count)
    records["wait"] = chance.exponential(20_000, count)
    records["flags"] = WAIT_KNOWN
    records["cpu"] = cpus[worker]
    records["rxcpu"] = chance.choice(cpus, count)
    records["pid"] = records["tid"] = 29_333 + worker
    records["comm"] = b"nginx"
    records["listen_fd"] = 3 + worker
    records["fd"] = chance.integers(8, 72, count)
    records["family"] = 4
    records["laddr"][:, :4] = (198, 18, 0, 1)
    records["lport"] = 8080
    client = chance.integers(CLIENTS, size=count)
    records["raddr"][:, :4] = np.stack(
        [np.full(count, 198), np.full(count, 18), 1 + client // 250, client % 250], axis=1
    )
    records["rport"] = chance.integers(1024, 65536, count)
    records["netns"] = 4_026_531_840
    return records
