/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose packet is it, for the probes of functions: where memory goes back, socket and device are
 * gone, so it is noted before, by what comes just before it on this CPU.
 *
 *   consume_skb, kfree_skb    the last reference is dropped, and all of it is still there
 *   skb_consume_udp()         a datagram was read, and its socket is in hand
 *   skb_copy_datagram_iovec   TCP: a reader copies; what it lets go of next is that
 *   tcp_probe                 a segment comes to an established connection: if it is bare, it is
 *                             freed next; the originals that it acknowledges are too
 *
 * What goes without one of these is not told apart: TCP that was read without a copy (splice, and
 * a FIN), and what is freed while a connection opens or closes.
 */
#ifndef LOCALITY_SKB_TOLD_H
#define LOCALITY_SKB_TOLD_H

#include "skb_sides.h"

#ifdef LOCALITY_BCC

#define tell_packet(skb, kind, loads)
#define tell_read(row, sk, skb, loads)
#define side_in_hand(row, skb) OURS
#define side_at_end(row, skb, kind) OURS

#else

static __always_inline void tell(struct row *row, struct sk_buff *skb, enum side side)
{
	row->told = (__u64)skb;
	row->told_side = side;
}

static __always_inline enum kind kind_at(struct sk_buff *skb, bool loads)
{
	return selects() ? kind_of(skb, NULL, loads) : NEITHER;
}

static __always_inline void tell_packet(struct sk_buff *skb, enum kind kind, bool loads)
{
	struct row *row = selects() && kind <= TX ? this_row() : NULL;
	enum side side;

	if (!row)
		return;
	side = side_of_packet(row, skb, kind, loads);
	/* Who reads it may have told more. */
	if (side != NOT_TOLD || row->told != (__u64)skb)
		tell(row, skb, side);
}

static __always_inline void tell_read(struct row *row, struct sock *sk, struct sk_buff *skb,
				      bool loads)
{
	if (selects())
		tell(row, skb, side_of_read(row, sk, skb, loads));
}

/* What is known of an sk_buff before it goes. */
static __always_inline enum side side_in_hand(struct row *row, struct sk_buff *skb)
{
	if (row->told == (__u64)skb)
		return row->told_side;
	tell(row, skb, NOT_TOLD);
	return NOT_TOLD;
}

static __always_inline bool was_acked(struct row *row, struct sk_buff *original)
{
	__u32 end = BPF_CORE_READ(tcp_part(original), end_seq);

	return (__s32)(end - (__u32)row->acked_from) > 0 && (__s32)((__u32)row->acked_to - end) >= 0;
}

/* The memory of an sk_buff goes back. */
static __always_inline enum side side_at_end(struct row *row, struct sk_buff *skb, enum kind kind)
{
	if (row->told == (__u64)skb) {
		row->told = 0;
		return row->told_side;
	}
	if (kind == RX)
		return side_of_segment(row, skb);
	if (BPF_CORE_READ_BITFIELD_PROBED(skb, fclone) != SKB_FCLONE_ORIG)
		return NOT_TOLD;
	if (was_acked(row, skb))
		return side_of_original(skb, row->acked_side);
	return side_by_device(skb);
}

static __always_inline void tell_segment(struct sock *sk, struct sk_buff *segment)
{
	struct row *row = this_row();
	enum side side;

	if (!row)
		return;
	side = side_of_connection(row, sk);
	note_segment(row, sk, segment, side);
	row->acked_from = BPF_CORE_READ((struct tcp_sock *)sk, snd_una);
	row->acked_to = BPF_CORE_READ(tcp_part(segment), ack_seq);
	row->acked_side = side;
}

/* A packet that the reader has copied to its end is freed next, unless it only looks. */
static __always_inline void tell_copied(struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct row *row = this_row();

	if (row && sk && sk->sk_protocol == IPPROTO_TCP && sk->sk_type == SOCK_STREAM)
		tell_read(row, sk, skb, true);
}

TYPED_TRACEPOINT(told_segment, tcp_probe, struct sock *sk, struct sk_buff *segment)
{
	tell_segment(sk, segment);
	return 0;
}

TYPED_TRACEPOINT(told_copied, skb_copy_datagram_iovec, struct sk_buff *skb)
{
	tell_copied(skb);
	return 0;
}

TYPED_TRACEPOINT(told_dropped, kfree_skb, struct sk_buff *skb)
{
	tell_packet(skb, kind_at(skb, true), true);
	return 0;
}

TYPED_TRACEPOINT(told_consumed, consume_skb, struct sk_buff *skb)
{
	tell_packet(skb, kind_at(skb, true), true);
	return 0;
}

#endif
#endif
