/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How locality.stp counted in 2017, ported: is an sk_buff freed on the CPU that allocated it?
 * Shares no code with locality's own probes, so that the two can be held against each other.
 *
 * Source: github.com/cloudflare/cloudflare-blog, 2017-11-perfect-locality/locality.stp.
 * Taken from it:
 *   - the CPU is remembered by address at the return of __alloc_skb(), __netdev_alloc_skb()
 *     and __napi_alloc_skb(), in a table of 32,768 that drops the oldest, and is looked up
 *     and deleted when the sk_buff is freed; one that is not there is not counted;
 *   - sender_cpu tells the direction: CPU + 1 is sent, above the CPUs it is a napi_id, so
 *     received, 0 is neither; for a TCP original, its clone's;
 *   - received is local if also the queue belongs to that CPU, or none is known; sent, if
 *     it was also handed to the device there;
 *   - the hook: entry of __kfree_skb().
 * All of that is `script`.
 *
 * What had to differ for packets to be seen at all is `port`:
 *   - it sits where memory ends, kfree_skbmem() and napi_skb_cache_put(): compilers inline
 *     __kfree_skb() into most callers. `hook` has the same rules at __kfree_skb();
 *   - a clone has its original's CPU: over loopback and veth, what TCP receives is a clone,
 *     which no function above returns. One that was sent stays uncounted;
 *   - received is what passed the stack's entry (skb_iif): without NAPI there is no napi_id;
 *   - local is nothing but "freed where allocated".
 * Neither knows the number of cores without SMT, which the script was told: all CPUs here.
 */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

enum direction {
	RX = 0,
	TX = 1,
	NEITHER = 2,
};

struct count {
	__u64 freed[2];      /* with a known alloc CPU */
	__u64 local[2];      /* of these, on that CPU */
	__u64 unregistered[2];
};

struct count script = {};
struct count hook = {};
struct count port = {};

struct allocations {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, __u32);
};

struct allocations script_allocations SEC(".maps");
struct allocations port_allocations SEC(".maps");

struct sk_buff___queue {
	__u16 queue_mapping;
} __attribute__((preserve_access_index));

static __always_inline int allocated(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;
	__u32 cpu = bpf_get_smp_processor_id();

	bpf_map_update_elem(&script_allocations, &key, &cpu, 0);
	bpf_map_update_elem(&port_allocations, &key, &cpu, 0);
	return 0;
}

SEC("fexit/__alloc_skb")
int BPF_PROG(alloc_skb, unsigned int size, unsigned int priority, int flags, int node,
	     struct sk_buff *made)
{
	return allocated(made);
}

SEC("fexit/__netdev_alloc_skb")
int BPF_PROG(netdev_alloc_skb, void *dev, unsigned int len, unsigned int priority,
	     struct sk_buff *made)
{
	return allocated(made);
}

SEC("fexit/__napi_alloc_skb")
int BPF_PROG(napi_alloc_skb, void *napi, unsigned int len, unsigned int priority,
	     struct sk_buff *made)
{
	return allocated(made);
}

/* The same function, by the name and with the arguments it has on newer kernels. */
SEC("fexit/napi_alloc_skb")
int BPF_PROG(napi_alloc_skb_renamed, void *napi, unsigned int len, struct sk_buff *made)
{
	return allocated(made);
}

SEC("fexit/skb_clone")
int BPF_PROG(clone, struct sk_buff *original, unsigned int priority, struct sk_buff *made)
{
	__u64 from = (__u64)original, key = (__u64)made;
	__u32 *cpu = bpf_map_lookup_elem(&port_allocations, &from);

	if (cpu)
		bpf_map_update_elem(&port_allocations, &key, cpu, 0);
	else
		bpf_map_delete_elem(&port_allocations, &key);
	return 0;
}

static __always_inline void add(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline __u32 sender_cpu_of(struct sk_buff *skb)
{
	struct sk_buff *clone = (void *)skb + bpf_core_field_offset(struct sk_buff_fclones, skb2);

	if (skb->sender_cpu || BPF_CORE_READ_BITFIELD(skb, fclone) != SKB_FCLONE_ORIG)
		return skb->sender_cpu;
	return BPF_CORE_READ(clone, sender_cpu);
}

static __always_inline enum direction script_direction(__u32 sender_cpu)
{
	if (sender_cpu > CPUS)
		return RX;
	return sender_cpu ? TX : NEITHER;
}

static __always_inline enum direction port_direction(struct sk_buff *skb)
{
	__u32 sender_cpu = sender_cpu_of(skb);

	if (skb->skb_iif)
		return RX;
	if (BPF_CORE_READ_BITFIELD(skb, fclone) == SKB_FCLONE_CLONE)
		return NEITHER;
	return sender_cpu && sender_cpu <= CPUS ? TX : NEITHER;
}

static __always_inline void count(struct count *count, enum direction direction, __u32 *cpu,
				  bool handled_here)
{
	if (direction == NEITHER)
		return;
	if (!cpu) {
		add(&count->unregistered[direction]);
		return;
	}
	add(&count->freed[direction]);
	if (*cpu == bpf_get_smp_processor_id() && handled_here)
		add(&count->local[direction]);
}

SEC("fentry/__kfree_skb")
int BPF_PROG(kfree_skb, struct sk_buff *skb)
{
	__u32 queue = ((struct sk_buff___queue *)skb)->queue_mapping;
	__u32 sender_cpu = sender_cpu_of(skb);
	__u32 here = bpf_get_smp_processor_id();
	__u64 key = (__u64)skb;
	enum direction direction = script_direction(sender_cpu);
	bool handled_here = direction == RX ? !queue || queue - 1 == here || queue - 1 + CPUS == here
					    : sender_cpu - 1 == here;

	count(&script, direction, bpf_map_lookup_elem(&script_allocations, &key), handled_here);
	bpf_map_delete_elem(&script_allocations, &key);
	count(&hook, port_direction(skb), bpf_map_lookup_elem(&port_allocations, &key), true);
	return 0;
}

static __always_inline int memory_ends(struct sk_buff *skb)
{
	__u64 key = (__u64)skb;

	count(&port, port_direction(skb), bpf_map_lookup_elem(&port_allocations, &key), true);
	bpf_map_delete_elem(&port_allocations, &key);
	return 0;
}

SEC("fentry/kfree_skbmem")
int BPF_PROG(kfree_skbmem, struct sk_buff *skb)
{
	return memory_ends(skb);
}

SEC("fentry/napi_skb_cache_put")
int BPF_PROG(napi_skb_cache_put, struct sk_buff *skb)
{
	return memory_ends(skb);
}
