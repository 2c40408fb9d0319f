"""``--live``: what happens now, on a screen of its own.

`screen` has the screen, `frame` the lines on it; each command's contents are a module.
"""

from __future__ import annotations

from locality.accept.dashboard import AcceptDashboard
from locality.dashboard.screen import PERIOD, Header
from locality.skb.dashboard import SkbDashboard
from locality.udp.dashboard import UdpDashboard

__all__ = ["PERIOD", "AcceptDashboard", "Header", "SkbDashboard", "UdpDashboard"]
