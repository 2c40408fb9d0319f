"""Which program each group shall have, as attach-cbpf was asked. Like `locality.cli`."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from locality.commands.lines import tell
from locality.commands.steering_request import AUTO, Request
from locality.errors import Unsupported
from locality.machine.topology import format_cpu_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.commands.before_after import Before
    from locality.machine.topology import Topology
    from locality.reuseport.group import Group
    from locality.steering.count import Counted
    from locality.steering.plan import Plan

    #: Processes and their descriptors: for each group, a socket by which to reach it.
    Sockets = list[tuple[int, int]]
    #: By the protocol of the group.
    Plans = defaultdict[str, Plan]


def make_plans(request: Request, machine: Topology, before: list[Before]) -> Plans:
    """What program each group shall have, by its protocol, as asked for."""
    from locality import cbpf
    from locality.steering import plan

    if request.table != AUTO:
        if request.table is not None:
            same = plan.fixed(cbpf.table(cbpf.parse_map(request.table)))
        elif request.group is not None:
            same = plan.fixed(request.build(request.group))
        else:
            same = plan.by_size(request.build)
        return defaultdict(lambda: same)
    everywhere = request.rx_cpus or frozenset(machine.online)
    receiving: dict[str, frozenset[int]] = {}
    if not request.rx_cpus:
        receiving = {one.protocol: _receiving(one) for one in before}
        if not before:
            cpus = format_cpu_list(everywhere)
            tell(f"RX CPUs {cpus}: assumed, because no traffic could be measured")
    plans: Plans = defaultdict(lambda: plan.AutoMap(machine, everywhere, request.force))
    for protocol, cpus_seen in receiving.items():
        plans[protocol] = plan.AutoMap(machine, cpus_seen, request.force)
    if request.spill is not None and _spills():
        bound = plan.fixed_bound(request.spill) if isinstance(request.spill, int) else None
        by_cpu = receiving.get("tcp", everywhere)
        plans["tcp"] = plan.SpillTable(
            machine, by_cpu, bound or partial(_measured_bound, before, {}), request.force
        )
    return plans


def _spills() -> bool:
    """Whether this kernel takes the program that spills; says what is done instead.

    Raises:
        Unsupported: This process may not load it.
    """
    from locality.machine.capabilities import missing_for_probes
    from locality.spill import program

    try:
        program.require()
    except Unsupported as refusal:
        if missing_for_probes():
            raise
        tell(
            f"{refusal}: a map alone is attached, so a worker with a long queue keeps all that its "
            "CPU receives"
        )
        return False
    return True


def _measured_bound(
    before: list[Before], chosen: dict[str, int], own: Mapping[int, int], group: Group
) -> int:
    """The bound that what was measured leads to; chosen once, and said.

    Args:
        before: What was measured.
        chosen: Keeps what was chosen.
        own: The index of each CPU's own worker.
        group: The group it is for.
    """
    from locality.spill import bound
    from locality.steering.waits import Waits

    if "bound" not in chosen:
        waits = Waits([one for seen in before for one in seen.counted.waits.readings])
        limits = [one.backlog_limit for one in group.members if one.backlog_limit is not None]
        found = bound.choose(waits.arrivals, own, len(group.members), limits)
        tell(f"--spill {found.connections}: {found.why}")
        chosen["bound"] = found.connections
    return chosen["bound"]


def _receiving(before: Before) -> frozenset[int]:
    """The CPUs that receive, as far as was seen; says what that rests on."""
    from locality.steering.count import receiving_cpus

    receiving = receiving_cpus(before.counted)
    tell(receiving_line(before.counted, receiving))
    return receiving


def receiving_line(counted: Counted, receiving: frozenset[int]) -> str:
    """Which CPUs are taken to receive, and what that rests on."""
    cpus, total, things = format_cpu_list(receiving), counted.total, counted.measured.things
    if not total:
        return f"RX CPUs {cpus}: assumed, because no {things} were seen"
    if not counted.is_enough:
        return f"RX CPUs {cpus}: assumed, because only {total} {things} were seen"
    where = f"CPU {cpus} only" if len(receiving) == 1 else f"CPUs {cpus}"
    return f"received on {where} ({total} {things} seen)"
