/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an sk_buff tells about itself at the end of its life: was it received or sent,
 * and on which CPU was it allocated.
 *
 * Received or sent, in this order:
 *   skb_iif != 0             received: it passed __netif_receive_skb_core(); but not a copy in
 *                            an error queue (skb_set_err_queue), or for a tap of what is sent
 *                            on, which are PACKET_OUTGOING
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
	__u32 alloc_cpu;  /* of what is received or sent */
};

/* CPUs this machine can have: the size of every per-CPU table. */
CONSTANT(__u32, possible_cpus);

/* As FIELD() of a bit field. */
#define BITS(skb, member)                               \
	(loads ? BPF_CORE_READ_BITFIELD(skb, member)    \
	       : BPF_CORE_READ_BITFIELD_PROBED(skb, member))

/*
 * A copy of the part of an sk_buff in which most of what is asked lies: one helper call for all of
 * it costs less than one for each member. What a kernel keeps outside is read from the sk_buff.
 * Members are where they are in the sk_buff, so the rest of the memory is just not used.
 */
#ifdef LOCALITY_BCC
#define in_part(member) true
#define bits_in_part(member) true

struct part {
	struct sk_buff skb;
};

static __always_inline struct sk_buff *copy_part(struct part *part, struct sk_buff *skb)
{
	bpf_probe_read_kernel(part, sizeof(*part), skb);
	return &part->skb;
}
#else
struct part {
	__u64 words[24];
};

#define BYTE_OFFSET(member) __CORE_RELO((struct sk_buff *)NULL, member, BYTE_OFFSET)
#define PART_BEGIN (BYTE_OFFSET(fclone) & -8ull)
#define PART_SIZE 48
#define lies_in_part(offset, size)                                                   \
	((offset) >= PART_BEGIN && (offset) + (size) <= PART_BEGIN + PART_SIZE &&    \
	 PART_BEGIN + PART_SIZE <= sizeof(struct part))
#define in_part(member)                                             \
	lies_in_part(bpf_core_field_offset(struct sk_buff, member), \
		     bpf_core_field_size(struct sk_buff, member))
#define bits_in_part(member)              \
	lies_in_part(BYTE_OFFSET(member), \
		     __CORE_RELO((struct sk_buff *)NULL, member, BYTE_SIZE))

static __always_inline struct sk_buff *copy_part(struct part *part, struct sk_buff *skb)
{
	void *copy = part;

	if (PART_BEGIN + PART_SIZE <= sizeof(*part))
		bpf_probe_read_kernel(copy + PART_BEGIN, PART_SIZE, (void *)skb + PART_BEGIN);
	barrier_var(copy); /* the compiler must not reason about what was never written */
	return copy;
}
#endif

/* A member by a load, from the copy where there is one (not NULL) and it has it, or by a call. */
#define HELD(skb, copy, member)                                      \
	(!loads && copy && in_part(member) ? (copy)->member : FIELD(skb, member))
#define HELD_BITS(skb, copy, member)                                         \
	(!loads && copy && bits_in_part(member) ? BPF_CORE_READ_BITFIELD(copy, member) \
						: BITS(skb, member))

/* Each member is read once it is asked for: of what was received, one. */
static __always_inline enum kind kind_of(struct sk_buff *skb, struct sk_buff *copy, bool loads)
{
	__u32 sender_cpu;
	__u8 fclone;

	if (HELD(skb, copy, skb_iif))
		return HELD_BITS(skb, copy, pkt_type) == PACKET_OUTGOING ? NEITHER : RX;
	fclone = HELD_BITS(skb, copy, fclone);
	if (fclone == SKB_FCLONE_ORIG)
		return HELD(skb, copy, skb_mstamp_ns) ? TX : NEITHER;
	sender_cpu = HELD(skb, copy, sender_cpu);
	if (!sender_cpu || sender_cpu > possible_cpus)
		return NEITHER;
	if (fclone == SKB_FCLONE_CLONE)
		return CLONE;
	if (HELD_BITS(skb, copy, pkt_type) == PACKET_OUTGOING)
		return NEITHER;
	return TX;
}

/* include/net/ip.h, net/ipv6.h: where both headers say that this is a fragment */
#define FRAGMENT_OFFSET 6
#define IP_MF_OR_OFFSET 0x3fff
#define NEXTHDR_FRAGMENT 44
#define ETH_P_IP 0x0800

/*
 * Is it an IP fragment that this machine puts together? Its header is still as it came, and the
 * stack is past that; of what is sent on as it is, the data begin before the header.
 */
static __always_inline bool is_fragment(struct sk_buff *skb, bool loads)
{
	unsigned char *header = FIELD(skb, head) + FIELD(skb, network_header);
	__u16 word = 0;

	if (FIELD(skb, data) <= header)
		return false;
	bpf_probe_read_kernel(&word, sizeof(word), header + FRAGMENT_OFFSET);
	if (FIELD(skb, protocol) == bpf_htons(ETH_P_IP))
		return bpf_ntohs(word) & IP_MF_OR_OFFSET;
	return (word & 0xff) == NEXTHDR_FRAGMENT;
}

static __always_inline __u32 alloc_cpu_of(struct sk_buff *skb)
{
	return HAS_ALLOC_CPU ? ALLOC_CPU(skb, true) : remembered_cpu(skb);
}

/* `copy` and `loads` are as in HELD(). */
static __always_inline struct packet packet_of(struct sk_buff *skb, struct sk_buff *copy,
					       bool loads)
{
	struct packet packet = {.kind = kind_of(skb, copy, loads), .alloc_cpu = UNKNOWN_CPU};

	if (packet.kind > TX)
		return packet;
	if (!HAS_ALLOC_CPU)
		packet.alloc_cpu = remembered_cpu(skb);
	else if (!loads && copy && bits_in_part(alloc_cpu))
		packet.alloc_cpu = ALLOC_CPU(copy, true);
	else
		packet.alloc_cpu = ALLOC_CPU(skb, loads);
	return packet;
}

/* For programs whose skb the verifier knows by type: plain loads. */
static __always_inline struct packet typed_packet(struct sk_buff *skb)
{
	return packet_of(skb, NULL, true);
}

/* The first bytes of its control block: of TCP the sequence numbers, which no other packet has. */
static __always_inline __u64 control_block(struct sk_buff *skb, bool loads)
{
	void *cb = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	__u64 first = 0;

#ifndef LOCALITY_BCC
	if (loads)
		return *(__u64 *)cb;
	if (can_cast)
		return *(__u64 *)((void *)typed(skb, struct sk_buff) +
				  bpf_core_field_offset(struct sk_buff, cb));
#endif
	bpf_probe_read_kernel(&first, sizeof(first), cb);
	return first;
}

/*
 * Whether a packet was received or sent. Asked again before a kind is an index: where it was kept on
 * the stack, the verifier has forgotten its range once a helper has written beside it.
 */
static __always_inline bool is_counted(struct packet *packet)
{
	__u32 kind = packet->kind;

	asm volatile("" : "+r"(kind));
	packet->kind = kind;
	return kind <= TX;
}

/* For programs that have just an address: a cast, or a copy, or a helper call a field. */
static __always_inline bool fragment_at(struct sk_buff *skb)
{
#ifdef LOCALITY_BCC
	struct sk_buff copy;

	bpf_probe_read_kernel(&copy, sizeof(copy), skb);
	return is_fragment(&copy, true);
#else
	if (can_cast)
		return is_fragment(typed(skb, struct sk_buff), true);
	return is_fragment(skb, false);
#endif
}

/* For programs that have just an address: a cast, or a copy of a part. */
static __always_inline struct packet packet_at(struct sk_buff *skb)
{
	struct part part;

#ifndef LOCALITY_BCC
	if (can_cast)
		return typed_packet(typed(skb, struct sk_buff));
#endif
	return packet_of(skb, copy_part(&part, skb), false);
}

static __always_inline struct packet packet_from(struct sk_buff *skb, bool loads)
{
	return loads ? typed_packet(skb) : packet_at(skb);
}

#endif
