"""Consumed-local and freed-local side by side, on the running kernel, as a Markdown table.

    python -m benchmarks.definitions [RUNG ...]
    tools/boot 6.1 -- python -m benchmarks.definitions fentry

Ping-pong over loopback, both ends on one CPU and on two. From Linux 5.19 on, freed-local
stays high wherever TCP is read; consumed-local tells the two apart.
"""

from __future__ import annotations

import platform
import sys
import time

from locality.sinks.text import percent
from locality.skb import RUNGS, SkbSource
from locality.skb_account import share
from tests.live.traffic import HERE, ROUND_TRIPS, THERE, tcp_ping_pong, udp_ping_pong


def main() -> None:
    """Print one row for each rung and workload."""
    print("| kernel | rung | ping-pong | packets | consumed-local | freed-local | deferred |")
    print("|---|---|---|--:|--:|--:|--:|")
    for rung in sys.argv[1:] or [rung.name for rung in RUNGS]:
        with SkbSource(rung=rung) as source:
            for name, workload in (("TCP", tcp_ping_pong), ("UDP", udp_ping_pong)):
                for where, cpu in (("one CPU", HERE), ("two CPUs", THERE)):
                    source.read()
                    workload(HERE, cpu, ROUND_TRIPS)
                    time.sleep(0.2)  # the last deferred packets go home
                    rx = source.read().rx
                    cells = (
                        platform.release(),
                        rung,
                        f"{name}, {where}",
                        f"{rx.packets:,}",
                        percent(share(rx.local, rx.known), 2),
                        percent(share(rx.freed_local, rx.packets), 2),
                        percent(share(rx.deferred, rx.packets), 2),
                    )
                    print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
