"""What the kernel and libbpf answer when they refuse, in one line."""

from __future__ import annotations

import ctypes
import os
from itertools import pairwise

from locality.bpf import libbpf
from locality.errors import Unsupported
from locality.machine.limits import raise_if_ours


def failure(refused: str) -> Unsupported:
    """An error from errno and the last thing libbpf said, in one line."""
    code = ctypes.get_errno()
    raise_if_ours(code)
    return Unsupported(f"{refused}: {answer()}", answer=os.strerror(code) if code else None)


def answer() -> str:
    """What errno and libbpf's log say."""
    code = ctypes.get_errno()
    reason = os.strerror(code) if code else "no reason given"
    cause = _cause(list(libbpf.log))
    return f"{reason} ({cause})" if cause else reason


def _cause(said: list[str]) -> str:
    """The one line of libbpf's log that tells most.

    A refusal by the verifier stands in front of its statistics ("processed 9 insns");
    otherwise the first complaint is the cause and the rest follows from it.
    """
    for before, line in pairwise(said):
        if line.startswith("processed "):
            return before.strip()
    return said[0].strip() if said else ""
