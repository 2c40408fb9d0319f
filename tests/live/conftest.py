"""What each live test is about, and the rungs on which it cannot be.

Its subjects are its markers; they go into the junit file, from which the table of kernels is
made.
"""

from __future__ import annotations

import pytest

from locality.accept import source as accept
from locality.skb import source as skb
from locality.udp import source as udp
from tests.live.rungs import ASKED, limitation

MEASUREMENTS = {
    "accept": (accept.AcceptSource, accept.RUNGS),
    "skb_rx": (skb.SkbSource, skb.RUNGS),
    "skb_tx": (skb.SkbSource, skb.RUNGS),
    "udp": (udp.UdpSource, udp.RUNGS),
}
SUBJECTS = (*MEASUREMENTS, "chosen", "agree", "attach")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note the subjects of each test; skip what cannot be measured on the rung asked for."""
    known = {rung.name for _, rungs in MEASUREMENTS.values() for rung in rungs}
    if ASKED and ASKED not in known:
        raise pytest.UsageError(f"LOCALITY_RUNG={ASKED}: use one of {', '.join(sorted(known))}")
    for item in items:
        subjects = [name for name in SUBJECTS if item.get_closest_marker(name)]
        if "rung" in getattr(item, "fixturenames", ()) and not subjects:
            # It would run on no other kernel, and nobody would notice.
            raise pytest.UsageError(f"{item.nodeid} does not say what it measures: mark it")
        item.user_properties += [("subject", name) for name in subjects]
        if ASKED is None or "chosen" in subjects:
            continue
        for name in MEASUREMENTS.keys() & subjects:
            if reason := limitation(*MEASUREMENTS[name], ASKED):
                item.add_marker(pytest.mark.skip(reason=f"limitation: {reason}"))
