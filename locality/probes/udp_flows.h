/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A sample of flows: one datagram in so many, by chance and not by turn (senders take turns
 * too), is counted by its addresses and ports.
 *
 * The table is bounded: each CPU has its own SETS sets of WAYS flows. It starts empty with
 * each interval, because an entry of another epoch is free; there are two tables, so that the
 * one of the last interval stays as it is while it is read. In a full set the flow with the
 * fewest samples makes room; these samples are then missing from the table's sum, which
 * user space compares with `sampled`, so that no loss is hidden. A heavy flow stays.
 */
#ifndef LOCALITY_UDP_FLOWS_H
#define LOCALITY_UDP_FLOWS_H

#include "udp_reads.h"
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define SETS 256
#define WAYS 4

struct flow_key {
	__u8 source[16];  /* network order; IPv4 in the first four bytes */
	__u8 target[16];
	__u32 netns;
	__u16 family;     /* of the packets, not of the socket */
	__u16 source_port;
	__u16 port;
	__u16 reserved[3];
};

struct udp_flow {
	struct flow_key key;
	__u32 epoch;
	__u32 samples;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SETS * WAYS);
	__type(key, __u32);
	__type(value, struct udp_flow);
} flows SEC(".maps");

/* A datagram is sampled when a random number of 32 bits is not above it. */
const volatile __u32 sample_below = 0xffffffff;

static __always_inline bool same_flow(const struct flow_key *one, const struct flow_key *other)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;

	for (__u32 i = 0; i < sizeof(*one) / sizeof(*a); i++) {
		if (a[i] != b[i])
			return false;
	}
	return true;
}

static __always_inline __u32 set_of(const struct flow_key *key)
{
	const __u64 *words = (const __u64 *)key;
	__u64 hash = 0;

	/* A product carries upwards only: what differs at the top of a word has to come down. */
	for (__u32 i = 0; i < sizeof(*key) / sizeof(*words); i++)
		hash = ((hash ^ words[i]) ^ ((hash ^ words[i]) >> 32)) * 0x9e3779b97f4a7c15ULL;
	return (hash >> 32) % SETS;
}

/* Addresses and ports of a datagram that waits; false if it does not look like one. */
static __always_inline bool read_flow(struct sk_buff *skb, __u16 port, struct flow_key *key)
{
	unsigned char *head = READ(skb, struct sk_buff___datagram, head);
	void *ip = head + READ(skb, struct sk_buff___datagram, network_header);
	void *udp = head + READ(skb, struct sk_buff___datagram, transport_header);
	struct udphdr ports = {};

	bpf_probe_read_kernel(&ports, sizeof(ports), udp);
	key->source_port = bpf_ntohs(ports.source);
	key->port = port;
	/* It may have been read and freed meanwhile, and be anything by now. */
	if (bpf_ntohs(ports.dest) != port)
		return false;
	if (READ(skb, struct sk_buff___datagram, protocol) == bpf_htons(ETH_P_IP)) {
		key->family = AF_INET;
		bpf_probe_read_kernel(key->source, 4, &((struct iphdr___addresses *)ip)->saddr);
		bpf_probe_read_kernel(key->target, 4, &((struct iphdr___addresses *)ip)->daddr);
	} else {
		key->family = AF_INET6;
		bpf_probe_read_kernel(key->source, 16, &((struct ipv6hdr___addresses *)ip)->saddr);
		bpf_probe_read_kernel(key->target, 16, &((struct ipv6hdr___addresses *)ip)->daddr);
	}
	return true;
}

static __always_inline void count_flow(const struct flow_key *key, __u32 now)
{
	__u32 table = HALF(now) * possible_cpus + bpf_get_smp_processor_id();
	__u32 first = (table * SETS + set_of(key)) * WAYS;
	struct udp_flow *flow, *least = NULL;

	for (__u32 i = 0; i < WAYS; i++) {
		__u32 index = first + i;

		flow = bpf_map_lookup_elem(&flows, &index);
		if (!flow)
			return;
		if (flow->epoch != now) {
			least = flow;
			break;
		}
		if (same_flow(&flow->key, key)) {
			flow->samples++;
			return;
		}
		if (!least || flow->samples < least->samples)
			least = flow;
	}
	if (!least)
		return;
	least->key = *key;
	least->samples = 1;
	least->epoch = now;
}

/* A datagram is in front of us: note its flow if its turn has come. */
static __always_inline void sample(struct udp_socket *socket, struct sk_buff *skb, __u32 now)
{
	struct socket_counts *counts = &socket->counts[HALF(now)];
	struct flow_key key = {};

	__sync_fetch_and_add(&counts->seen, 1);
	if (bpf_get_prandom_u32() > sample_below)
		return;
	key.netns = socket->netns;
	__sync_fetch_and_add(&counts->sampled, 1);
	if (read_flow(skb, socket->port, &key))
		count_flow(&key, now);
}

#endif
