"""Groups with workers on CPUs, as no machine has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality.reuseport.evidence import Worker
from locality.reuseport.group import Group, Member

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


def group_on(*cpus: AbstractSet[int]) -> Group:
    """A group whose worker i may run on the i-th set of CPUs; an empty set is no worker."""
    members = [
        Member(100 + i, (Worker(10 + i, 10 + i, "nginx", frozenset(allowed)),) if allowed else ())
        for i, allowed in enumerate(cpus)
    ]
    return Group(tuple(members), True, False, None, "read from the kernel")
