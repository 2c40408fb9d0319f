/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose a socket is, where threads are asked for: the thread's that read from it or sent by it last.
 *
 * It is a word for each socket, with the address and the side. The address also gives its place, and
 * of two sockets with one place the later keeps it; the other one's owner is not known then. A hash
 * map that never forgets wrongly costs more than all else that a filter does.
 */
#ifndef LOCALITY_SKB_OWNERS_H
#define LOCALITY_SKB_OWNERS_H

#include "skb_choice.h"

COUNTERS(owners, __u64);
/* A power of two. */
CONSTANT(__u32, owner_places);

/* Sockets begin at multiples of more than that. */
#define SIDE_BITS 3ull
/* A number near 2^64 divided by the golden ratio: include/linux/hash.h */
#define GOLDEN_RATIO_64 0x61C8864680B583EBull

/*
 * As a number: with a pointer that it knows by its type, the verifier allows no arithmetic, but to
 * store it. If an interrupt has stored another one between, a helper reads it, which takes longer.
 */
static __always_inline __u64 address_of(struct row *row, const void *pointer)
{
	volatile __u64 *stored = &row->address;
	__u64 expected = (__u64)pointer, address;

	*stored = (__u64)pointer;
	address = *stored;
	/* The compiler must not put the pointer in the number's place, because they are equal. */
	asm volatile("" : "+r"(expected));
	if (address != expected)
		bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline __u64 *owner_at(__u64 address)
{
	__u32 place = (address * GOLDEN_RATIO_64 >> 32) & (owner_places - 1);

	return bpf_map_lookup_elem(&owners, &place);
}

/* Of a socket, or of none. */
static __always_inline enum side side_of_owner(struct row *row, struct sock *sk)
{
	__u64 address, word, *owner;

	if (!selects_tasks())
		return OURS;
	if (!sk)
		return NOT_TOLD;
	address = address_of(row, sk);
	owner = owner_at(address);
	word = owner ? *owner : 0;
	return (word & ~SIDE_BITS) == address ? word & SIDE_BITS : NOT_TOLD;
}

/*
 * The current thread reads from a socket or sends by it: its side, which is now the socket's.
 *
 * Returns whether that was another, or not known.
 */
static __always_inline bool take_side(struct row *row, struct sock *sk, enum side *side)
{
	__u64 address = address_of(row, sk);
	__u64 *owner = owner_at(address);

	*side = side_if(wanted_task());
	if (!owner || *owner == (address | *side))
		return false;
	*owner = address | *side;
	return true;
}

/* User space detaches it where it finds nothing that reads do not tell: skb/senders.py. */
TYPED_TRACEPOINT(owner_sends, sock_send_length, struct sock *sk)
{
	struct row *row = this_row();
	enum side side;

	if (!row)
		return 0;
	row->sends++;
	if (take_side(row, sk, &side))
		row->owners_found++;
	return 0;
}

/* The address of a socket is used again. */
TYPED_TRACEPOINT(owner_gone, tcp_destroy_sock, struct sock *sk)
{
	struct row *row = this_row();
	__u64 address, *owner;

	if (!row)
		return 0;
	address = address_of(row, sk);
	owner = owner_at(address);
	if (owner && (*owner & ~SIDE_BITS) == address)
		*owner = 0;
	return 0;
}

#endif
