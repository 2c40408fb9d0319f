"""matplotlib with its own settings, whatever the current directory holds.

When it is first imported, matplotlib reads a ``matplotlibrc`` from the current directory before any
other (`matplotlib.matplotlib_fname`). Such a file can make it run LaTeX, or be a FIFO that nobody
writes to. Root may well stand in a directory of somebody else, so the import happens in ``/``.

Import this module before matplotlib.
"""

from __future__ import annotations

import os
from importlib import import_module

# O_PATH, which only Linux has, opens a directory that may not be read.
_here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
try:
    os.chdir("/")
    import_module("matplotlib")
finally:
    os.fchdir(_here)
    os.close(_here)
