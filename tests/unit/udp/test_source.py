"""What the source of datagrams says of its rung."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from locality.bpf.ladder import Attachment, Rung
from locality.udp.source import RUNGS, noting_depth

if TYPE_CHECKING:
    from locality.bpf.object import Object


# Bug: kernels that show the depth of queues are told what those before 6.3 do not show.
@pytest.mark.parametrize("step", RUNGS, ids=lambda step: step.name)
def test_only_what_this_kernel_does_not_show_is_noted(step: Rung) -> None:
    assert "6.3" not in step.note
    old = Attachment(cast("Object", None), step, ("fentry_consume_udp",), ())
    assert "no tracepoint sk_data_ready" in noting_depth(old).rung.note
    for program in ("raw_depth", "raw_data_ready"):
        new = old._replace(programs=("fentry_consume_udp", program))
        assert noting_depth(new) is new
