"""Does Linux handle a packet on the CPU that received it?"""

from __future__ import annotations

# Not imported from typing: it takes milliseconds in which Ctrl-C is a traceback (`__main__`).
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from locality.recording.frames import load, load_chunks

__all__ = ["__version__", "load", "load_chunks"]

__version__ = "1.0.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it is
    """What brings pandas and pyarrow, which only those who call it pay for."""
    if name in {"load", "load_chunks"}:
        from locality.recording import frames  # noqa: PLC0415 - see above

        return getattr(frames, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
