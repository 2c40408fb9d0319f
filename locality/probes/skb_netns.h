/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose packet is it, where only the packets of one network namespace are asked for.
 *
 * An sk_buff does not say so itself. Its socket does, while it has one; its device does, until a
 * protocol takes it from the device; its route does, until a socket takes it. Where none of them
 * is left, the packet is counted as not told apart, and on neither side.
 */
#ifndef LOCALITY_SKB_NETNS_H
#define LOCALITY_SKB_NETNS_H

#include "skb_counters.h"

/* The inode of the namespace; 0 for all namespaces, which all packets are then of. */
CONSTANT(__u32, only_netns);

enum side {
	OURS,
	OTHERS,
	NOT_TOLD,
};

/* The lowest bit of _skb_refdst says that no reference is held: include/linux/skbuff.h */
#define SKB_DST_NOREF 1UL

static __always_inline enum side side_of(struct net *net)
{
	if (!only_netns)
		return OURS;
	if (!net)
		return NOT_TOLD;
	return BPF_CORE_READ(net, ns.inum) == only_netns ? OURS : OTHERS;
}

static __always_inline enum side side_of_socket(struct sock *sk)
{
	return side_of(only_netns && sk ? BPF_CORE_READ(sk, __sk_common.skc_net.net) : NULL);
}

/* Of no device, and of what is no device's address: NOT_TOLD. */
static __always_inline enum side side_of_device(struct net_device *dev)
{
	return side_of(only_netns && dev ? BPF_CORE_READ(dev, nd_net.net) : NULL);
}

/*
 * In this order: in a receive queue, the device's place is used for something else, which the
 * socket must hide.
 */
static __always_inline enum side side_of_packet(struct sk_buff *skb)
{
	struct dst_entry *dst;
	struct sock *sk;
	enum side side;

	if (!only_netns)
		return OURS;
	sk = BPF_CORE_READ(skb, sk);
	if (sk)
		return side_of_socket(sk);
	side = side_of_device(BPF_CORE_READ(skb, dev));
	if (side != NOT_TOLD)
		return side;
	dst = (struct dst_entry *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);
	return side_of_device(dst ? BPF_CORE_READ(dst, dev) : NULL);
}

/* Whether to count it; what cannot be told apart is counted here, aside. */
static __always_inline bool is_ours(struct row *row, enum kind kind, enum side side)
{
	if (side == NOT_TOLD)
		row->not_told[kind]++;
	return side == OURS;
}

#endif
