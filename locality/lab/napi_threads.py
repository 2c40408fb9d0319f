"""A veth whose packets are received by threads, one for each queue on a CPU of its own.

The kernel can have a thread poll a queue in place of a softirq (/sys/class/net/DEVICE/threaded,
Linux 5.12). The sender's hash of a flow chooses the queue, as RSS does on a card. A veth has queues
to poll (NAPI) only while its receiver merges packets (GRO) and its sender leaves none unsegmented
(TSO): veth_skb_is_eligible_for_gro in drivers/net/veth.c.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.namespaces import POLL_S, START_S
from locality.lab.network import LINK
from locality.lab.programs import SYSTEM_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.lab.namespaces import Namespace

PROC = Path("/proc")
#: Every device has this file where the kernel has such threads.
SWITCH = Path("/sys/class/net/lo/threaded")
#: napi_kthread_create in net/core/dev.c: then follows the number of the NAPI instance.
NAME = f"napi/{LINK}-"


def why_no_napi_threads() -> str:
    """Why there are no such threads here, in words; empty if there are."""
    if not SWITCH.exists():
        return f"this kernel has no {SWITCH} (Linux 5.12)"
    return "" if shutil.which("ethtool", path=SYSTEM_PATH) else "ethtool is not installed"


def receive_by_threads(server: Namespace, client: Namespace, cpus: Sequence[int]) -> None:
    """Have a thread on each of these CPUs receive what one queue of the server's end gets.

    Args:
        server: Where; its end of the cable is up and has a queue for each CPU.
        client: Who sends.
        cpus: The server's RX CPUs.

    Raises:
        LocalityError: The kernel has no such threads, or refused.
    """
    if missing := why_no_napi_threads():
        raise LocalityError(f"no NAPI threads here: {missing}; --wire veth-rps needs none")
    before = napi_threads()
    client.run("ethtool", "-K", LINK, "tso", "off")
    server.run("ethtool", "-K", LINK, "gro", "on")
    server.write(f"/sys/class/net/{LINK}/threaded", "1")
    deadline = time.monotonic() + START_S
    while len(ours := sorted(napi_threads() - before)) < len(cpus):
        if time.monotonic() > deadline:
            raise LocalityError(
                f"the kernel started {len(ours)} NAPI threads that are seen here, and not "
                f"{len(cpus)}: --wire veth-rps needs none"
            )
        time.sleep(POLL_S)
    if len(ours) > len(cpus):
        raise LocalityError("another lab started its NAPI threads at this moment: start again")
    for pid, cpu in zip(ours, cpus, strict=True):
        try:
            os.sched_setaffinity(pid, [cpu])
        except OSError as error:
            raise LocalityError(f"a NAPI thread cannot be pinned: {error.strerror}") from error


def napi_threads() -> set[int]:
    """The threads of all devices of this name, whatever their network namespace."""
    found = set()
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if (entry / "comm").read_text().startswith(NAME):
                    found.add(int(entry.name))
    return found
