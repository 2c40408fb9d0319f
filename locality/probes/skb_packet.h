/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an sk_buff tells about itself at the end of its life: was it received or sent,
 * and on which CPU was it allocated.
 *
 * Received or sent, in this order:
 *   skb_iif != 0             received: it passed __netif_receive_skb_core()
 *   fclone == ORIG           sent by TCP, which keeps the original until the ACK; neither if
 *                            it has no time of sending: TCP filled the one before it up with
 *                            its bytes (tcp_grow_skb), or the connection broke
 *   sender_cpu is no CPU     neither: unix and netlink sockets never set it, and what GRO
 *                            merged or the driver dropped has a napi_id in its place
 *                            (sender_cpu is CPU + 1, napi_ids begin above the last CPU)
 *   fclone == CLONE          the copy TCP gave to the driver: counted aside, its original counts
 *   PACKET_OUTGOING          a copy for a tap
 *   anything else            sent: UDP, bare ACKs, SYN-ACKs, RSTs, software GSO segments
 *
 * Over loopback and veth the driver's copy is the very sk_buff that is received, so it
 * has an skb_iif, and its alloc CPU (which cloning copies) is the sender's.
 */
#ifndef LOCALITY_SKB_PACKET_H
#define LOCALITY_SKB_PACKET_H

#include "skb_alloc_map.h"

enum kind {
	RX = 0,
	TX = 1,
	CLONE = 2,
	NEITHER = 3,
};

struct packet {
	enum kind kind;
	__u32 alloc_cpu;
};

/* CPUs this machine can have: the size of every per-CPU table. */
CONSTANT(__u32, possible_cpus);

static __always_inline enum kind kind_of(int iif, __u8 fclone, bool stamped, __u32 sender_cpu,
					 __u8 pkt_type)
{
	if (iif)
		return RX;
	if (fclone == SKB_FCLONE_ORIG)
		return stamped ? TX : NEITHER;
	if (!sender_cpu || sender_cpu > possible_cpus)
		return NEITHER;
	if (fclone == SKB_FCLONE_CLONE)
		return CLONE;
	if (pkt_type == PACKET_OUTGOING)
		return NEITHER;
	return TX;
}

static __always_inline __u32 alloc_cpu_of(struct sk_buff *skb)
{
	return HAS_ALLOC_CPU ? ALLOC_CPU(skb) : remembered_cpu(skb);
}

/* What `skb` is, by its fields where they can be loaded from. */
static __always_inline struct packet packet_of(struct sk_buff *fields, struct sk_buff *skb)
{
	return (struct packet){
		.kind = kind_of(fields->skb_iif, BPF_CORE_READ_BITFIELD(fields, fclone),
				fields->skb_mstamp_ns, fields->sender_cpu,
				BPF_CORE_READ_BITFIELD(fields, pkt_type)),
		.alloc_cpu = HAS_ALLOC_CPU ? ALLOC_CPU(fields) : remembered_cpu(skb),
	};
}

/* For programs whose skb the verifier knows by type: plain loads. */
static __always_inline struct packet typed_packet(struct sk_buff *skb)
{
	return packet_of(skb, skb);
}

/* For programs that have just an address: a cast, or a copy, or a helper call a field. */
static __always_inline struct packet packet_at(struct sk_buff *skb)
{
#ifdef LOCALITY_BCC
	struct sk_buff copy;

	bpf_probe_read_kernel(&copy, sizeof(copy), skb);
	return packet_of(&copy, skb);
#else
	if (can_cast)
		return typed_packet(typed(skb, struct sk_buff));
	return (struct packet){
		.kind = kind_of(BPF_CORE_READ(skb, skb_iif),
				BPF_CORE_READ_BITFIELD_PROBED(skb, fclone),
				BPF_CORE_READ(skb, skb_mstamp_ns), BPF_CORE_READ(skb, sender_cpu),
				BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type)),
		.alloc_cpu = HAS_ALLOC_CPU ? BPF_CORE_READ_BITFIELD_PROBED(skb, alloc_cpu)
					   : remembered_cpu(skb),
	};
#endif
}

#endif
