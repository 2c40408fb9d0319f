/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts, for each packet, the CPU that allocated its sk_buff, the CPU on which its last
 * user let go of it (consumed), and the CPU on which its memory went back (freed).
 *
 * Why consumed and freed differ. Since Linux 5.19 a reader that lets go of an sk_buff
 * from another CPU does not free it: skb_attempt_defer_free() puts it on a list of the
 * alloc CPU, which frees it later (commit 68822bdf76f1, "net: generalize skb freeing
 * deferral to per-cpu lists"). "Allocated and freed on the same CPU" is then true of
 * nearly every packet, and says nothing about where it was handled.
 *
 * What must be hooked. An sk_buff's memory ends in one of four places, and in one only:
 *   kfree_skbmem()         never inlined; once for each half of an fclone pair
 *   napi_skb_cache_put()   softirq's cache; where it is inlined: napi_consume_skb() of an
 *                          unshared, uncloned sk_buff within NAPI, and __kfree_skb_defer()
 *   kfree_skb_partial() with a stolen head: the bytes live on in another sk_buff
 *   the bulk free of kfree_skb_list_reason(): drop lists and fragments, no packets
 * __kfree_skb() must not be hooked: it is inlined into nearly all of its callers.
 *
 * Memory that goes back was consumed there and then, but for three reasons ("why"):
 * skb_attempt_defer_free() was its consumption; the list's flush frees for another CPU;
 * its bytes were merged into another sk_buff, as IP fragments are into their datagram.
 *
 * The rungs of this measurement:
 *   fentry, kprobe   exactly that
 *   raw tracepoints  skb_raw_tracepoints.h, for kernels that let no function be hooked
 */
#include "skb_counters.h"
#include "skb_flush.h"
#include "skb_told.h"
#ifndef LOCALITY_BCC /* its programs are typed: they need BTF */
#include "skb_raw_tracepoints.h"
#endif

LICENSE_GPL;

LAYOUT(cell);
LAYOUT(row);

/* Why the release of row->handled is not a consumption. */
enum {
	DEFERRED = 1,
	FLUSHED = 2,
	MERGED = 3,
};

static __always_inline void handle(struct sk_buff *skb, __u64 why)
{
	struct row *row = this_row();

	if (row) {
		row->handled = (__u64)skb;
		row->why = why;
	}
}

/*
 * A packet is sent to its alloc CPU to be freed there, or is not after all (-1). Where the flush is
 * not seen, that CPU's flush will be taken for a consumption.
 */
static __always_inline void deferred(struct row *row, struct packet packet, __u64 more)
{
	/* Not &packet.alloc_cpu: that puts the kind on the stack, where Linux 6.1 forgets its range. */
	__u32 alloc_cpu = packet.alloc_cpu;
	struct row *home;

	row->deferred[packet.kind] += more;
	if (flush_functions)
		return;
	home = row_of(alloc_cpu);
	if (home)
		__sync_fetch_and_add(&home->deferred_to[packet.kind], more);
}

/*
 * Why the release of an sk_buff is no consumption; 0 if it is one. What was deferred may have gone
 * to its alloc CPU, and its address may have come back for another packet.
 */
static __always_inline __u64 why_handled(struct row *row, struct sk_buff *skb, bool loads)
{
	if (row->handled != (__u64)skb)
		return 0;
	row->handled = 0;
	if (row->why == DEFERRED && row->deferred_cb != control_block(skb, loads))
		return 0;
	return row->why;
}

/* The memory of an sk_buff goes back. */
static __always_inline void freed(struct sk_buff *skb, struct packet packet, bool loads)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct row *row = row_of(cpu);
	__u64 why;

	if (!row)
		return;
	why = why_handled(row, skb, loads);
	if (row->udp == (__u64)skb)
		row->udp = 0;
	forget(skb);
	if (why == MERGED || !is_packet(row, packet.kind))
		return;
	/* What was sent back was told apart when it was consumed. */
	if (selects() && (why ? why == FLUSHED || row->told_side != OURS
			      : !is_ours(row, packet.kind, side_at_end(row, skb, packet.kind))))
		return;
	if (!is_counted(&packet))
		return;
	if (packet.alloc_cpu >= possible_cpus) {
		row->unknown[packet.kind]++;
		return;
	}
	row->freed_home[packet.kind] += packet.alloc_cpu == cpu;
	if (!why)
		consumed(row, cpu, packet.kind, packet.alloc_cpu);
	else if (why == DEFERRED)
		deferred(row, packet, -1); /* the list was full: freed here after all */
	else
		row->returned[packet.kind]++;
}

/* Within NAPI: if nobody else holds it, its memory will go to softirq's cache. */
static __always_inline void consumed_in_napi(struct sk_buff *skb, bool loads)
{
	struct part part;
	struct sk_buff *copy = loads ? NULL : copy_part(&part, skb);
	struct packet packet;

	if (HELD_BITS(skb, copy, fclone) != SKB_FCLONE_UNAVAILABLE ||
	    HELD(skb, copy, users.refs.counter) != 1)
		return;
	packet = packet_of(skb, copy, loads);
	tell_packet(skb, packet.kind, loads);
	freed(skb, packet, loads);
}

/* A reader, or the driver's completion, lets go of an sk_buff. */
static __always_inline void let_go(struct sk_buff *skb, struct packet packet, bool loads)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct row *row = row_of(cpu);
	enum side side;

	if (!row || packet.alloc_cpu >= possible_cpus || packet.kind > TX)
		return;
	side = selects() ? side_in_hand(row, skb) : OURS;
	if (side == OURS && packet.kind == RX && row->udp != (__u64)skb)
		delivered(row, cpu, packet.alloc_cpu);
	row->udp = 0;
	row->handled = 0;
	/* At home it is freed at once, and that is where it is counted. */
	if (packet.alloc_cpu == cpu)
		return;
	/*
	 * If the list is full, this CPU frees it now: freed() must know what becomes of it. If not, the
	 * alloc CPU does, and the address may come back for a packet of which nothing is told yet.
	 */
	row->handled = (__u64)skb;
	row->why = DEFERRED;
	row->deferred_cb = control_block(skb, loads);
	if (selects())
		row->told = 0;
	if (!is_ours(row, packet.kind, side) || !is_counted(&packet))
		return;
	consumed(row, cpu, packet.kind, packet.alloc_cpu);
	deferred(row, packet, 1);
}

/*
 * UDP lets go of a datagram that was read; it may or may not call the above. One that was looked
 * at (MSG_PEEK) still waits in the queue, or another reader has taken it meanwhile: `length` is
 * negative, unless it is 0.
 */
static __always_inline void udp_let_go(struct sock *sk, struct sk_buff *skb, bool waits,
				       int length, struct packet packet, bool loads)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct row *row = row_of(cpu);

	if (waits || !row || packet.alloc_cpu >= possible_cpus || packet.kind != RX)
		return;
	tell_read(row, sk, skb, loads);
	if (length >= 0 && (!selects() || row->told_side == OURS))
		delivered(row, cpu, packet.alloc_cpu);
	row->udp = (__u64)skb;
}

/* The bytes of an sk_buff have moved into its neighbour in the receive queue. */
static __always_inline void merged(struct sk_buff *skb, unsigned int len, bool head_stolen)
{
	struct row *row = this_row();

	if (!row || !len)
		return;
	row->merged++;
	if (!head_stolen)
		handle(skb, MERGED);
}

/* Deeper than the tree of a datagram's fragments can be. */
#define MAX_DEPTH 32

/*
 * The fragments of a datagram are complete. The sk_buff of the last to come now holds the first
 * one's bytes, and becomes the datagram; the first one's own goes (inet_frag_reasm_prepare).
 */
static __always_inline void reassembled(struct inet_frag_queue *queue, struct sk_buff *last)
{
	struct rb_node *node = BPF_CORE_READ(queue, rb_fragments.rb_node);
	struct row *row = this_row();
	struct sk_buff *first;

	for (int i = 0; i < MAX_DEPTH && node; i++) {
		struct rb_node *before = BPF_CORE_READ(node, rb_left);

		if (!before)
			break;
		node = before;
	}
	first = (void *)node - bpf_core_field_offset(struct sk_buff, rbnode);
	if (!row || !node || first == last)
		return;
	row->merged++;
	handle(first, MERGED);
}

/*
 * A function's entry, as fentry and as kprobe. The arguments come last. In the statement,
 * `loads` says whether their fields can be loaded, as the verifier lets fentry do.
 */
#define ON_ENTRY(function, statement, ...)      \
	FENTRY(function, ##__VA_ARGS__)         \
	{                                       \
		const bool loads = true;        \
						\
		(void)loads;                    \
		statement;                      \
		return 0;                       \
	}                                       \
	KPROBE(function, ##__VA_ARGS__)         \
	{                                       \
		const bool loads = false;       \
						\
		(void)loads;                    \
		statement;                      \
		return 0;                       \
	}

ON_ENTRY(kfree_skbmem, freed(skb, packet_from(skb, loads), loads), struct sk_buff *skb)

ON_ENTRY(napi_skb_cache_put, freed(skb, packet_from(skb, loads), loads), struct sk_buff *skb)

/* Of these two nothing is freed yet. */
ON_ENTRY(napi_consume_skb, if (skb && budget) consumed_in_napi(skb, loads), struct sk_buff *skb,
	 int budget)

ON_ENTRY(__kfree_skb_defer,
	 {
		 struct packet packet = packet_from(skb, loads);

		 tell_packet(skb, packet.kind, loads);
		 freed(skb, packet, loads);
	 },
	 struct sk_buff *skb)

ON_ENTRY(skb_attempt_defer_free, let_go(skb, packet_from(skb, loads), loads), struct sk_buff *skb)

ON_ENTRY(skb_consume_udp,
	 udp_let_go(sk, skb, FIELD(skb, next), length, packet_from(skb, loads), loads),
	 struct sock *sk, struct sk_buff *skb, int length)

ON_ENTRY(inet_frag_reasm_prepare, reassembled(queue, last), struct inet_frag_queue *queue,
	 struct sk_buff *last)

/* head_stolen is a bool, and of a bool argument only the low byte is defined. */
ON_ENTRY(kfree_skb_partial, merged(skb, FIELD(skb, len), head_stolen & 1), struct sk_buff *skb,
	 unsigned long head_stolen)

TYPED_TRACEPOINT(fentry_flush, consume_skb, struct sk_buff *skb)
{
	if (is_flush(ctx))
		handle(skb, FLUSHED);
	else
		tell_packet(skb, kind_at(skb, true), true);
	return 0;
}

RAW_TRACEPOINT(kprobe_flush, consume_skb, struct sk_buff *skb)
{
	if (is_flush(ctx))
		handle(skb, FLUSHED);
	else
		tell_packet(skb, kind_at(skb, false), false);
	return 0;
}

/*
 * Where a list of sk_buffs is freed one by one, not in bulk: a datagram's other fragments hang
 * on its first one, and go with it.
 */
RAW_TRACEPOINT(free_fragment, kfree_skb, struct sk_buff *skb)
{
	struct row *row = this_row();

	if (row && fragment_at(skb)) {
		row->merged++;
		handle(skb, MERGED);
	}
	return 0;
}
