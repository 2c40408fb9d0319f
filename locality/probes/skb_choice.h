/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which packets are asked for, and what may be the answer to whether a packet is one of them.
 *
 * bcc compiles none of it: engine bcc refuses filters of packets.
 */
#ifndef LOCALITY_SKB_CHOICE_H
#define LOCALITY_SKB_CHOICE_H

#include "skb_counters.h"
#ifndef LOCALITY_BCC
#include "filter.h"
#endif

/* A packet must be ours by all that is asked for, so of two answers the greater counts. */
enum side {
	OURS,
	NOT_TOLD,
	OTHERS,
};

static __always_inline enum side both(enum side one, enum side other)
{
	return one > other ? one : other;
}

static __always_inline enum side side_if(bool ours)
{
	return ours ? OURS : OTHERS;
}

/* Whether to count it; what cannot be told apart is counted here, aside. */
static __always_inline bool is_ours(struct row *row, enum kind kind, enum side side)
{
	if (side == NOT_TOLD)
		row->not_told[kind]++;
	return side == OURS;
}

#ifdef LOCALITY_BCC

static __always_inline bool selects(void)
{
	return false;
}

#else

/* 4, 6, or 0 for both. */
CONSTANT(__u8, only_family);
/* A device: its index, and the inode of the namespace that it is in. */
CONSTANT(__u32, only_ifindex);
CONSTANT(__u32, only_ifindex_netns);

static __always_inline bool selects_tasks(void)
{
	return pid_count || only_comm[0] || only_cgroup;
}

static __always_inline bool selects_headers(void)
{
	return only_family || port_count;
}

static __always_inline bool selects(void)
{
	return only_netns || only_ifindex || selects_headers() || selects_tasks();
}

#endif
#endif
