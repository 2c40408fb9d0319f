"""Does Linux handle a packet on the CPU that received it?"""

from __future__ import annotations

# Not imported from typing: it takes milliseconds in which Ctrl-C is a traceback (`__main__`).
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from locality.recording.frames import load

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it is
    """`load` brings pandas and pyarrow, which only those who call it pay for."""
    if name == "load":
        from locality.recording.frames import load  # noqa: PLC0415 - see above

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
