"""How much would be local under another program: computed from what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locality import cbpf
from locality.steering.count import likely_rx_cpus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locality.explain.causes import Share
    from locality.machine.topology import Topology
    from locality.reuseport.group import Group


def receiving_cpus(share: Share, machine: Topology) -> frozenset[int]:
    """The CPUs that receive what a group got; every online one where too little was seen."""
    received = share.received
    return likely_rx_cpus(received.keys(), received.total(), machine.online)


def agreement_of(share: Share) -> dict[int, float]:
    """By RX CPU; 1 where it is not seen, as RSS and RPS make it."""
    seen = {cpu: share.agreement(cpu) for cpu in share.received}
    return {cpu: 1.0 if part is None else part for cpu, part in seen.items()}


def expected_local(
    group: Group,
    program: cbpf.Program,
    received: Mapping[int, float],
    agreement: Mapping[int, float],
) -> float:
    """How many connections would be local.

    Args:
        group: With the CPUs that its workers will have.
        program: What will be attached.
        received: Connections by RX CPU.
        agreement: By RX CPU, the part whose SYN was there too; the others' SYNs were on the
            other CPUs, in proportion to what those receive.
    """
    total = sum(received.values())
    local = 0.0
    for cpu, count in received.items():
        here = _chance(group, program, cpu, cpu)
        away = 0.0
        if others := total - count:
            away = sum(
                number * _chance(group, program, other, cpu)
                for other, number in received.items()
                if other != cpu
            )
            away /= others
        local += count * (agreement[cpu] * here + (1 - agreement[cpu]) * away)
    return local


def _chance(group: Group, program: cbpf.Program, syn: int, cpu: int) -> float:
    """The chance that what has its SYN on one CPU is accepted on another."""
    answer = cbpf.evaluate(program, cbpf.Packet(cpu=syn))
    members = group.members
    may_get = [members[answer]] if answer < len(members) else members
    parts = [1 / len(one.cpus) if cpu in one.cpus else 0.0 for one in may_get]
    return sum(parts) / len(parts)
