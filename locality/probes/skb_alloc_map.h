/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where an sk_buff was allocated, on kernels that do not write it into the sk_buff:
 * remembered by address when it is made, forgotten when its memory goes back.
 *
 * An sk_buff is made by __alloc_skb(), __build_skb(), build_skb_around() or skb_clone().
 * A clone has its original's CPU, as where the field exists and is copied. Made before
 * tracing began, or pushed out of the map by newer ones: not known, and counted as that.
 */
#ifndef LOCALITY_SKB_ALLOC_MAP_H
#define LOCALITY_SKB_ALLOC_MAP_H

#include "kernel_differences.h"

#define UNKNOWN_CPU 0xffffffff

LRU_MAP(alloc_cpus, __u64, __u32);

static __always_inline __u32 remembered_cpu(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	__u32 *cpu = bpf_map_lookup_elem(&alloc_cpus, &key);

	return cpu ? *cpu : UNKNOWN_CPU;
}

static __always_inline void remember(struct sk_buff *skb, __u32 cpu)
{
	__u64 key = (__u64)skb;

	if (skb)
		bpf_map_update_elem(&alloc_cpus, &key, &cpu, 0);
}

static __always_inline void forget(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;

	if (!HAS_ALLOC_CPU)
		bpf_map_delete_elem(&alloc_cpus, &key);
}

FEXIT(__alloc_skb, unsigned int size, unsigned int priority, int flags, int node,
      struct sk_buff *made)
{
	remember(made, bpf_get_smp_processor_id());
	return 0;
}

FEXIT(__build_skb, void *data, unsigned int frag_size, struct sk_buff *made)
{
	remember(made, bpf_get_smp_processor_id());
	return 0;
}

FEXIT(build_skb_around, struct sk_buff *skb, void *data, unsigned int frag_size,
      struct sk_buff *made)
{
	remember(made, bpf_get_smp_processor_id());
	return 0;
}

FEXIT(skb_clone, struct sk_buff *original, unsigned int priority, struct sk_buff *made)
{
	remember(made, remembered_cpu(original));
	return 0;
}

KRETPROBE(__alloc_skb, struct sk_buff *made)
{
	remember(made, bpf_get_smp_processor_id());
	return 0;
}

KRETPROBE(__build_skb, struct sk_buff *made)
{
	remember(made, bpf_get_smp_processor_id());
	return 0;
}

KRETPROBE(build_skb_around, struct sk_buff *made)
{
	remember(made, bpf_get_smp_processor_id());
	return 0;
}

/*
 * The return does not tell the original. A pair's clone lies behind its original in
 * memory, which serves TCP; another clone gets the CPU it is made on.
 */
KRETPROBE(skb_clone, struct sk_buff *made)
{
	__u32 cpu = bpf_get_smp_processor_id();

	if (made && BPF_CORE_READ_BITFIELD_PROBED(made, fclone) == SKB_FCLONE_CLONE)
		cpu = remembered_cpu((void *)made - bpf_core_type_size(struct sk_buff));
	remember(made, cpu);
	return 0;
}

#endif
