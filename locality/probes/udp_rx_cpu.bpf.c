// SPDX-License-Identifier: GPL-2.0-only
/*
 * Count the datagrams of one socket by the CPU that received them.
 *
 * A socket filter runs where the kernel has chosen the socket and is about to queue the
 * datagram (udp_queue_rcv_one_skb in net/ipv4/udp.c): in the softirq, so on the RX CPU.
 * Datagrams that then find the buffer full are counted too. The alloc CPU would not do
 * over a veth: an sk_buff that crosses it was allocated by the sender.
 */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

/* A cache line: no CPU writes into another's. */
struct rx_count {
	__u64 datagrams;
	__u64 reserved[7];
};

/* User space gives it an entry for each possible CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rx_count);
} counts SEC(".maps");

SEC("socket")
int locality_udp_rx_cpu(void *datagram)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct rx_count *count = bpf_map_lookup_elem(&counts, &cpu);

	if (count)
		count->datagrams++; /* only softirqs run here: nothing comes between */
	return -1; /* keep all of it */
}

char LICENSE[] SEC("license") = "GPL";
