/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The same count from tracepoints alone, for kernels that let no function be hooked.
 *
 * No tracepoint says "an sk_buff's memory goes back", so each way to be consumed is
 * caught where it passes one:
 *   consume_skb, kfree_skb    the last reference is dropped: drops, forwarding, driver
 *                             completions, and UDP where it is not deferred
 *   skb_copy_datagram_iovec   TCP data, when a copy to the reader reaches the sk_buff's end
 *   sock_recv_length          a datagram was read, where UDP is deferred (6.18): its
 *                             sk_buff is not known here; of these, the ones that a flush
 *                             frees for another CPU were not local
 *   tcp_probe                 a segment comes to an established connection: the originals
 *                             that its ACK is about to free
 *   kmem_cache_free           what is freed without a word: bare ACKs, and TCP originals
 *                             that tcp_probe has not shown
 *
 * Which slab caches hold sk_buffs is not exported. The plain one is known by its name.
 * The pairs' cache is often merged with others of its size and has one of their names,
 * so it is learnt: user space fills a packet into a queue of its own, and frees it (nothing is
 * sent). Where it may not, a clone that TCP reads is the second half of a pair, and the cache
 * that the pair then goes back to is the one.
 *
 * Why tcp_probe. A pair's memory goes back with the later of its halves. The driver lets
 * go of the clone long before the ACK, but over loopback and veth the clone is what the
 * peer reads, and mostly outlives the original: its free says nothing of the ACK's CPU.
 *
 * What is not seen: freed memory (so no freed-local); readers that do not copy (splice,
 * sockmap, kTLS, MPTCP, MSG_TRUNC); fragments whose datagram never comes about; over loopback
 * and veth, the ACK's CPU for originals that are acknowledged while the connection
 * opens or closes, or out of order: counted as unknown.
 */
#ifndef LOCALITY_SKB_RAW_TRACEPOINTS_H
#define LOCALITY_SKB_RAW_TRACEPOINTS_H

#include "pid_namespace.h"
#include "skb_counters.h"
#include "skb_flush.h"
#include "skb_sides.h"

#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000
#define RCV_SHUTDOWN 1

/*
 * Does the kernel defer datagrams too? Then consume_skb is silent when a thread lets go of the one
 * it reads, which sock_recv_length tells of right after. Until user space has seen enough: how many
 * reads had been told of, and how many not.
 */
GLOBAL(bool, udp_is_settled);
GLOBAL(__u64, udp_told);
GLOBAL(__u64, udp_untold);

/* The slab caches, once learnt. */
GLOBAL(__u64, head_cache);
GLOBAL(__u64, fclone_cache);
static __u64 awaited_pair;

/* User space is about to free an original with this sequence number: bit 32, and the number. */
GLOBAL(__u64, sought);

/* A packet's last user let go of it, on this CPU. */
static __always_inline void count_packet(struct row *row, enum kind kind, __u32 alloc_cpu,
					 enum side side)
{
	if (is_ours(row, kind, side))
		consumed(row, bpf_get_smp_processor_id(), kind, alloc_cpu);
}

static __always_inline void count_consumed(struct row *row, struct packet packet, enum side side)
{
	if (is_packet(row, packet.kind))
		count_packet(row, packet.kind, packet.alloc_cpu, side);
}

static __always_inline bool carries(struct sk_buff *skb, __u8 wanted)
{
	void *header = skb->head + skb->network_header;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		return READ(header, struct iphdr, protocol) == wanted;
	return READ(header, struct ipv6hdr, nexthdr) == wanted;
}

/* A sequence number of TCP's part; `loads` as in FIELD(). */
#define SEQUENCE(skb, member)                                                              \
	(loads ? *(__u32 *)((void *)tcp_part(skb) +                                        \
			    bpf_core_field_offset(struct tcp_skb_cb, member))              \
	       : BPF_CORE_READ(tcp_part(skb), member))

/*
 * Is this the flush of a deferred list? Without a location: those kernels defer TCP that
 * was read and nothing else, and received TCP has no other way here but forwarding, and SYNs.
 */
static __always_inline bool was_deferred(const unsigned long long *ctx, struct sk_buff *skb,
					 struct packet packet)
{
	if (flush_functions)
		return is_flush(ctx);
	return packet.kind == RX && carries(skb, IPPROTO_TCP) &&
	       !(READ(tcp_part(skb), struct tcp_skb_cb, tcp_flags) & TCPHDR_SYN);
}

/* Is it a fragment that goes with its datagram, or gave its bytes to it? */
static __always_inline bool merged_fragment(struct row *row, struct sk_buff *skb,
					    struct packet packet)
{
	if (packet.kind != RX || !is_fragment(skb, true))
		return false;
	row->merged++;
	return true;
}

TYPED_TRACEPOINT(raw_consume_skb, consume_skb, struct sk_buff *skb)
{
	struct packet packet = typed_packet(skb);
	struct row *row = this_row();

	if (!row)
		return 0;
	if (was_deferred(ctx, skb, packet)) {
		if (packet.kind > TX)
			return 0;
		/* Those received were told apart when they were read, but a FIN. */
		if (selects() && packet.kind == RX) {
			if (carries(skb, IPPROTO_TCP) && carries_nothing(skb)) {
				row->not_told[RX]++;
				row->handled = (__u64)skb;
			}
			return 0;
		}
		if (!is_ours(row, packet.kind, side_of_packet(row, skb, packet.kind, true)))
			return 0;
		row->returned[packet.kind]++;
		if (packet.kind == RX && carries(skb, IPPROTO_UDP)) {
			row->udp_returned++;
		} else if (packet.kind == RX && carries_nothing(skb)) {
			row->unknown[RX]++; /* a FIN: no reader copied it */
			row->handled = (__u64)skb;
		}
		return 0;
	}
	if (packet.kind == RX)
		row->handled = (__u64)skb;
	if (merged_fragment(row, skb, packet))
		return 0;
	if (!udp_is_settled && packet.kind == RX && carries(skb, IPPROTO_UDP))
		row->udp = bpf_get_current_pid_tgid();
	count_consumed(row, packet, side_of_packet(row, skb, packet.kind, true));
	return 0;
}

TYPED_TRACEPOINT(raw_kfree_skb, kfree_skb, struct sk_buff *skb)
{
	struct packet packet = typed_packet(skb);
	struct row *row = this_row();

	if (!row)
		return 0;
	if (packet.kind == RX)
		row->handled = (__u64)skb;
	if (!merged_fragment(row, skb, packet))
		count_consumed(row, packet, side_of_packet(row, skb, packet.kind, true));
	return 0;
}

/*
 * Does this thread only look (MSG_PEEK)? Told by what its system call came with; io_uring's
 * reads and those of 32-bit programs, whose calls have other numbers, are not told.
 */
static __always_inline bool only_looks(void)
{
	struct pt_regs *regs = USER_REGISTERS();

	if (!CALL_IS_RUNNING(LOAD, regs))
		return false;
	if (regs->CALL_NUMBER == NR_RECVFROM || regs->CALL_NUMBER == NR_RECVMMSG)
		return regs->FOURTH_ARGUMENT & MSG_PEEK;
	return regs->CALL_NUMBER == NR_RECVMSG && regs->THIRD_ARGUMENT & MSG_PEEK;
}

TYPED_TRACEPOINT(raw_copy_datagram, skb_copy_datagram_iovec, struct sk_buff *skb, int len)
{
	struct sock *sk = skb->sk;
	struct row *row;
	__u32 alloc_cpu;

	if (!sk || sk->sk_protocol != IPPROTO_TCP || sk->sk_type != SOCK_STREAM)
		return 0;
	if (!fclone_cache && BPF_CORE_READ_BITFIELD(skb, fclone) == SKB_FCLONE_CLONE)
		awaited_pair = (__u64)skb - bpf_core_type_size(struct sk_buff);
	if ((__u32)len < skb->len) {
		__u32 begin = READ(&skb->cb, struct tcp_skb_cb, seq);

		if (READ(sk, struct tcp_sock, copied_seq) + len - begin < skb->len)
			return 0; /* more of it is still to be read */
	}
	if (only_looks())
		return 0;
	row = this_row();
	if (!row || (selects() && !is_ours(row, RX, side_of_read(row, sk, skb, true))))
		return 0;
	alloc_cpu = alloc_cpu_of(skb);
	if (alloc_cpu < possible_cpus) {
		__u32 cpu = bpf_get_smp_processor_id();

		consumed(row, cpu, RX, alloc_cpu);
		delivered(row, cpu, alloc_cpu);
	}
	return 0;
}

TYPED_TRACEPOINT(raw_recv_length, sock_recv_length, struct sock *sk, int ret, int flags)
{
	struct row *row = this_row();
	enum side side;
	bool told;

	if (!row)
		return 0;
	told = !udp_is_settled && row->udp == bpf_get_current_pid_tgid();
	if (!udp_is_settled)
		row->udp = 0; /* what it was told of may have been read from another kind of socket */
	if (sk->sk_protocol != IPPROTO_UDP || sk->sk_type != SOCK_DGRAM || ret < 0 ||
	    flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	/* The end of a shut socket, and no datagram of 0 bytes. */
	if (!ret && sk->sk_shutdown & RCV_SHUTDOWN)
		return 0;
	side = side_of_read(row, sk, NULL, true);
	if (side == OURS)
		row->udp_received++;
	else if (side == NOT_TOLD)
		row->udp_not_told++;
	if (!udp_is_settled)
		__sync_fetch_and_add(told ? &udp_told : &udp_untold, 1);
	return 0;
}

static __always_inline bool is_head_cache(struct kmem_cache *cache)
{
	const char expected[] = "skbuff_head_cache";
	char name[sizeof(expected)] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(cache, name));
	for (__u32 i = 0; i < sizeof(expected); i++) {
		if (name[i] != expected[i])
			return false;
	}
	return true;
}

/* Is this the pair that user space frees for us to see? */
static __always_inline bool is_sought(const void *memory)
{
	struct sk_buff *original = (void *)memory + bpf_core_field_offset(struct sk_buff_fclones, skb1);
	__u32 begin;

	if (!sought)
		return false;
	begin = BPF_CORE_READ(tcp_part(original), seq);
	return begin == (__u32)sought && BPF_CORE_READ(tcp_part(original), end_seq) == begin + 1 &&
	       BPF_CORE_READ_BITFIELD_PROBED(original, fclone) == SKB_FCLONE_ORIG;
}

static __always_inline void learn_caches(const void *memory, struct kmem_cache *cache)
{
	if (!head_cache && is_head_cache(cache))
		head_cache = (__u64)cache;
	if (!fclone_cache &&
	    (is_sought(memory) || (awaited_pair && (__u64)memory == awaited_pair)))
		fclone_cache = (__u64)cache;
}

/* Originals that one ACK is seen to free; the rest of a larger one is seen at its end. */
#define MAX_ACKED 64

static __always_inline bool not_after(__u32 one, __u32 other)
{
	return (__s32)(other - one) >= 0;
}

/* What is acknowledged by one segment, walked from the first sent. */
struct walk {
	struct row *row;
	enum side side;
	void *list;
	void *sent;
	__u32 acked;
	__u32 ack;
};

/*
 * The list of what was sent is in order of time. As long as one begins where the one before
 * it ended, it is in order of sequence numbers too, and tcp_clean_rtx_queue() will free all
 * that end by the ACK. After a loss it is not, and the walk ends. All on the list are
 * originals and have a time of sending.
 *
 * Returns whether that was the last.
 */
static __always_inline bool count_sent(struct walk *walk, struct sk_buff *skb, bool loads)
{
	__u32 end;

	if (!not_after(SEQUENCE(skb, seq), walk->acked))
		return true;
	end = SEQUENCE(skb, end_seq);
	if (not_after(end, walk->acked) || !not_after(end, walk->ack))
		return true;
	count_packet(walk->row, TX, ALLOC_CPU(skb, loads), side_of_original(skb, walk->side));
	walk->row->acked++;
	walk->acked = end;
	if (end == walk->ack)
		return true;
	walk->sent = FIELD(skb, tcp_tsorted_anchor.next);
	return false;
}

static __always_inline bool count_next(struct walk *walk)
{
	struct sk_buff *skb =
		walk->sent - bpf_core_field_offset(struct sk_buff, tcp_tsorted_anchor);

	if (walk->sent == walk->list)
		return true;
	return can_cast ? count_sent(walk, typed(skb, struct sk_buff), true)
			: count_sent(walk, skb, false);
}

/* For bpf_loop(): the verifier looks at it once, and not for each turn. */
static long count_more(__u32 turn, struct walk *walk)
{
	return count_next(walk);
}

static __always_inline void acknowledged(struct tcp_sock *tp, struct sk_buff *segment,
					 enum side side, bool loads)
{
	struct walk walk = {
		.side = side, .acked = FIELD(tp, snd_una), .ack = SEQUENCE(segment, ack_seq)
	};

	if (not_after(walk.ack, walk.acked) || !not_after(walk.ack, FIELD(tp, snd_nxt)))
		return;
	walk.row = this_row();
	if (!walk.row)
		return;
	walk.row->acked_from = walk.acked;
	walk.list = (void *)tp + bpf_core_field_offset(struct tcp_sock, tsorted_sent_queue);
	walk.sent = FIELD(tp, tsorted_sent_queue.next);
	if (!count_next(&walk))
		bpf_loop(MAX_ACKED - 1, count_more, &walk, 0);
	walk.row->acked_to = walk.acked;
}

TYPED_TRACEPOINT(raw_tcp_probe, tcp_probe, struct sock *sk, struct sk_buff *segment)
{
	enum side side = OURS;

	if (selects()) {
		struct row *row = this_row();

		if (!row)
			return 0;
		side = side_of_connection(row, sk);
		note_segment(row, sk, segment, side);
	}
	if (!fclone_cache)
		return 0;
	if (can_cast)
		acknowledged(typed(sk, struct tcp_sock), segment, side, true);
	else
		acknowledged((struct tcp_sock *)sk, segment, side, false);
	return 0;
}

/* A pair goes back: when did its original? */
static __always_inline void pair_freed(struct row *row, struct sk_buff_fclones *pair, bool loads)
{
	struct sk_buff *original = (void *)pair + bpf_core_field_offset(pair->skb1);
	struct sk_buff *clone = (void *)pair + bpf_core_field_offset(pair->skb2);
	/* kfree_skbmem() leaves 1 where the original went last, and else counts down to 0. */
	bool original_last = FIELD(pair, fclone_ref.refs.counter) == 1;
	__u32 alloc_cpu, end;

	/* A merged cache holds other things too. What a loss split may have no clone. */
	if (BITS(original, fclone) != SKB_FCLONE_ORIG || FIELD(original, users.refs.counter) != 1 ||
	    (!original_last && BITS(clone, fclone) != SKB_FCLONE_CLONE))
		return;
	/* What kind_of() says of an original. */
	if (FIELD(original, skb_iif) || !FIELD(original, skb_mstamp_ns))
		return;
	alloc_cpu = ALLOC_CPU(original, loads);
	if (alloc_cpu >= possible_cpus)
		return;
	if (!original_last) {
		row->outlived++;
		/* A FIN alone, which the peer freed without a word. */
		if (FIELD(clone, skb_iif) && carries_nothing(clone) &&
		    row->handled != (__u64)clone)
			count_consumed(row, packet_of(clone, NULL, loads),
				       selects() ? NOT_TOLD : OURS);
		return;
	}
	end = SEQUENCE(original, end_seq);
	if (!not_after(end, row->acked_from) && not_after(end, row->acked_to))
		row->acked--;
	else
		count_packet(row, TX, alloc_cpu, side_by_device(original));
}

/* Untyped: `memory` is a void pointer, which a typed program may not take everywhere. */
RAW_TRACEPOINT(raw_cache_free, kmem_cache_free, unsigned long call_site, const void *memory,
	       struct kmem_cache *cache)
{
	struct packet packet;
	struct sk_buff *skb;
	struct row *row;

	if ((__u64)cache != head_cache && (__u64)cache != fclone_cache) {
		if (!head_cache || !fclone_cache)
			learn_caches(memory, cache);
		return 0;
	}
	row = this_row();
	if (!row)
		return 0;
	if ((__u64)cache == fclone_cache) {
		if (can_cast)
			pair_freed(row, typed(memory, struct sk_buff_fclones), true);
		else
			pair_freed(row, (struct sk_buff_fclones *)memory, false);
		return 0;
	}
	skb = (struct sk_buff *)memory;
	packet = packet_at(skb);
	/* Anything else passed a tracepoint, or was merged into its neighbour. */
	if (packet.kind != RX || !carries_nothing(skb))
		return 0;
	if (row->handled == (__u64)memory)
		row->handled = 0;
	else
		count_consumed(row, packet, side_of_segment(row, memory));
	return 0;
}

#endif
