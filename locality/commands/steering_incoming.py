"""What attach-cbpf does with --with incoming-cpu. Imports on use."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from locality.commands.before_after import Before, compare_with, count_before
from locality.commands.lines import show, tell
from locality.commands.steering_end import saying_if_interrupted, stays
from locality.commands.steering_groups import (
    change_each,
    find_groups,
    groups_of_one_server,
    in_namespace_of,
    of_request,
)
from locality.commands.take_back import restore_incoming_cpus
from locality.text import counted

if TYPE_CHECKING:
    from locality.commands.steering_request import Request
    from locality.machine.topology import Topology
    from locality.reuseport.survey import FoundGroup


def set_incoming_cpus(request: Request, machine: Topology) -> None:
    """Set SO_INCOMING_CPU of each socket to its worker's CPU."""
    from locality.reuseport.evidence import LOOK_S
    from locality.steering import incoming_cpu
    from locality.steering.incoming_effect import require_effective

    groups = of_request(request, find_groups(request, look=LOOK_S))
    require_effective()
    settings = [incoming_cpu.settings_for(group, machine.online) for group in groups]
    with ExitStack() as stack:
        before: list[Before] = []
        if request.verify:
            sockets = [group.holder for group in groups]
            with saying_if_interrupted("nothing was changed"):
                before = count_before(stack, sockets, machine, request.verify, needed=True)
        incoming_cpu.apply([setting for chosen in settings for setting in chosen])
        for group, chosen in zip(groups, settings, strict=True):
            cpus = ", ".join(f"index {setting.index}: CPU {setting.cpu}" for setting in chosen)
            show([f"{group}: SO_INCOMING_CPU set ({cpus})"])
        kept = stays(in_namespace_of(request, groups))
        if before and request.verify:
            with saying_if_interrupted(kept):
                back = partial(restore_incoming_cpus, groups)
                compare_with(before, request.verify, back, kept=kept)
        tell(kept)


def clear_incoming_cpus(request: Request) -> None:
    """Take SO_INCOMING_CPU away from each socket."""
    from locality.steering import incoming_cpu

    def clear(group: FoundGroup) -> str:
        had = [one for one in incoming_cpu.apply(incoming_cpu.clearing(group)) if one.is_set]
        if not had:
            return f"{group}: no socket has SO_INCOMING_CPU; nothing to do"
        return f"{group}: SO_INCOMING_CPU taken away from {counted(len(had), 'socket')}"

    change_each(groups_of_one_server(request), clear)
