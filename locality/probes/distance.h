/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How far two CPUs are apart, by what user space has written into a table.
 */
#ifndef LOCALITY_DISTANCE_H
#define LOCALITY_DISTANCE_H

#include "dialect.h"

/* locality/machine/topology.py: Distance; the last one is for what is not known. */
#define DISTANCES 6
#define OTHER_NODE 4
#define NOT_KNOWN 5

/* What a CPU shares with others: the lowest number of those that it shares it with. */
struct cpu_place {
	__u32 core;
	__u32 llc;
	__u32 node;
	__u32 known;
};

LAYOUT(cpu_place);

COUNTERS(cpu_places, struct cpu_place);

/* How far it is from the CPU that received to another one; a negative one is not known. */
static __always_inline __u32 distance_of(__u32 cpu, __s32 rx_cpu)
{
	struct cpu_place *here, *there;
	__u32 from = rx_cpu;

	if (rx_cpu < 0)
		return NOT_KNOWN;
	if (from == cpu)
		return 0;
	here = bpf_map_lookup_elem(&cpu_places, &cpu);
	there = bpf_map_lookup_elem(&cpu_places, &from);
	if (!here || !there || !here->known || !there->known)
		return NOT_KNOWN;
	if (here->core == there->core)
		return 1;
	if (here->llc == there->llc)
		return 2;
	return here->node == there->node ? 3 : OTHER_NODE;
}

#endif
