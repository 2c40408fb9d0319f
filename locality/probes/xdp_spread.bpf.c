// SPDX-License-Identifier: GPL-2.0-only
/*
 * Spreads one flow: UDP datagrams to chosen ports get a random source port, so that the hash
 * of a reuseport group sees many flows where there is one.
 *
 * Nothing else is changed but the checksum, and that in one of three ways:
 *
 *   0          IPv4 only: there is none. It stays 0.
 *   not yet    The field is the sum of the pseudo header alone. A sender on this machine left
 *              the rest to a device (CHECKSUM_PARTIAL) that never came: veth hands the sk_buff
 *              over as it is. Whoever completes it will add up the ports as they are then, so
 *              the field must stay.
 *   complete   Updated by the difference of the ports (RFC 1624): right if it was right, and
 *              wrong if it was wrong.
 *
 * XDP is not told which of the last two it has. One in 65535 complete checksums equals the sum
 * of its pseudo header; so where they are equal the datagram is added up. If it proves a
 * complete one it could still be one of an sk_buff: then no port but its own suits both, and it
 * is left as it is.
 *
 * Two programs around one body: packets in several buffers (jumbo frames) need helpers that not
 * every kernel has (kernel_differences.h).
 */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include "wire.h"

/* include/uapi/linux/bpf.h; what a program reads of it is translated by the verifier. */
struct xdp_md {
	__u32 data;
	__u32 data_end;
};

enum { XDP_PASS = 2 };

enum {
	/* Where unprivileged clients get theirs from: 0 means "no reply", 1 to 1023 look trusted. */
	FIRST_PORT = 1024,
	SOURCE_PORTS = 65536 - FIRST_PORT,
	MOST_TAGS = 2,
	BLOCK = 128,
	/* The verifier follows a pointer into a packet up to 64 KiB; no wire carries more. */
	MOST_BLOCKS = 500,
};

/* One bit a destination port. */
const volatile __u8 chosen_ports[65536 / 8];

/* One for each CPU, which alone writes it, in softirq. One cache line. */
struct spread_counts {
	__u64 seen;      /* the program ran: the sum of the other three */
	__u64 rewritten; /* got another source port */
	__u64 passed;    /* none of ours: untouched */
	__u64 malformed; /* cut short, or its lengths contradict each other: untouched */
	__u64 reserved[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct spread_counts);
} counts SEC(".maps");

enum fate { REWRITTEN, PASSED, MALFORMED };

struct packet {
	struct xdp_md *context;
	void *begin;
	void *end;      /* of what can be read here: of several buffers, the first */
	__u32 length;   /* in all buffers */
	bool in_buffers;
};

static __always_inline bool chosen(__be16 destination)
{
	__u16 port = bpf_ntohs(destination);

	return chosen_ports[port >> 3] & (1 << (port & 7));
}

/* The sum of a datagram that lies in one piece: what is left over of blocks, then the blocks. */
static __always_inline __u64 sum_in_place(struct packet *packet, void *at, __u32 length)
{
	__u32 before = length & (BLOCK - 2), blocks = length / BLOCK, sum = 0, i;
	void *block = at + before;
	__u64 total = 0;

	if (blocks > MOST_BLOCKS)
		return 0;
	for (i = 0; i < BLOCK / 2 - 1 && i < before / 2; i++) {
		barrier_var(at); /* or the compiler moves the end of the packet, which it may not */
		if (at + 2 > packet->end)
			return 0;
		total += *(__u16 *)at;
		at += 2;
	}
	for (i = 0; i < MOST_BLOCKS && i < blocks; i++) {
		barrier_var(block);
		if (block + BLOCK > packet->end)
			return 0;
		sum = bpf_csum_diff(NULL, 0, block, BLOCK, sum);
		block += BLOCK;
	}
	if (length & 1) {
		if (block + 1 > packet->end)
			return 0;
		total += *(__u8 *)block;
	}
	return total + sum;
}

/* The sum of a datagram that may lie in several buffers: the blocks, then what is left over. */
static __always_inline __u64 sum_by_copy(struct packet *packet, void *at, __u32 length)
{
	__u32 offset = at - packet->begin, blocks = length / BLOCK, rest = length & (BLOCK - 1);
	__u32 block[BLOCK / 4] = {}, sum = 0, i;

	if (blocks > MOST_BLOCKS)
		return 0;
	for (i = 0; i < MOST_BLOCKS && i < blocks; i++) {
		if (bpf_xdp_load_bytes(packet->context, offset, block, BLOCK))
			return 0;
		sum = bpf_csum_diff(NULL, 0, block, BLOCK, sum);
		offset += BLOCK;
	}
	if (rest) {
		__builtin_memset(block, 0, BLOCK);
		if (bpf_xdp_load_bytes(packet->context, offset, block, rest))
			return 0;
		sum = bpf_csum_diff(NULL, 0, block, BLOCK, sum);
	}
	return sum;
}

static __always_inline enum fate spread_udp(struct packet *packet, struct wire_udp *udp,
					    __u32 room, __u64 addresses, bool may_have_none)
{
	__be16 port = bpf_htons(FIRST_PORT + bpf_get_prandom_u32() % SOURCE_PORTS);
	__u32 length;

	if (room < sizeof(*udp) || (void *)(udp + 1) > packet->end)
		return MALFORMED;
	if (!chosen(udp->destination))
		return PASSED;
	length = bpf_ntohs(udp->length);
	if (length < sizeof(*udp) || length > room)
		return MALFORMED;
	if (udp->checksum) {
		__u64 pseudo = addresses + bpf_htons(PROTOCOL_UDP) + udp->length;

		if (udp->checksum != folded(pseudo)) {
			__u16 updated = ~folded((__u64)(__u16)~udp->checksum +
						(__u16)~udp->source + port);
			udp->checksum = updated ? updated : 0xffff;
		} else {
			__u64 sum = packet->in_buffers ? sum_by_copy(packet, udp, length)
						       : sum_in_place(packet, udp, length);
			if (folded(pseudo + sum) == 0xffff)
				return PASSED;
		}
	} else if (!may_have_none) {
		return MALFORMED;
	}
	udp->source = port;
	return REWRITTEN;
}

static __always_inline enum fate spread_ipv4(struct packet *packet, struct wire_ipv4 *ip,
					     __u32 room)
{
	__u32 header, total;

	if ((void *)(ip + 1) > packet->end)
		return MALFORMED;
	header = (ip->version_and_words & 0xf) * 4;
	total = bpf_ntohs(ip->total_length);
	if (ip->version_and_words >> 4 != 4 || header < sizeof(*ip) || total < header ||
	    total > room)
		return MALFORMED;
	if (ip->protocol != PROTOCOL_UDP || ip->fragment & bpf_htons(IPV4_FRAGMENT))
		return PASSED;
	return spread_udp(packet, (void *)ip + header, total - header,
			  (__u64)ip->addresses[0] + ip->addresses[1], true);
}

static __always_inline enum fate spread_ipv6(struct packet *packet, struct wire_ipv6 *ip,
					     __u32 room)
{
	__u64 addresses = 0;
	__u32 payload;
	int i;

	if ((void *)(ip + 1) > packet->end)
		return MALFORMED;
	payload = bpf_ntohs(ip->payload_length);
	if (bpf_ntohl(ip->version_class_flow) >> 28 != 6 || sizeof(*ip) + payload > room)
		return MALFORMED;
	if (ip->next_header != PROTOCOL_UDP)
		return PASSED;
#pragma unroll
	for (i = 0; i < 8; i++)
		addresses += ip->addresses[i];
	return spread_udp(packet, (void *)(ip + 1), payload, addresses, false);
}

static __always_inline enum fate spread(struct packet *packet)
{
	struct wire_ethernet *ethernet = packet->begin;
	void *at = ethernet + 1;
	__be16 ethertype;
	int i;

	if (at > packet->end)
		return MALFORMED;
	ethertype = ethernet->ethertype;
#pragma unroll
	for (i = 0; i < MOST_TAGS; i++) {
		struct wire_vlan *vlan = at;

		if (ethertype != bpf_htons(ETHERTYPE_VLAN) &&
		    ethertype != bpf_htons(ETHERTYPE_SERVICE_VLAN))
			break;
		at = vlan + 1;
		if (at > packet->end)
			return MALFORMED;
		ethertype = vlan->ethertype;
	}
	__u32 room = packet->length - (__u32)(at - packet->begin);
	if (ethertype == bpf_htons(ETHERTYPE_IPV4))
		return spread_ipv4(packet, at, room);
	if (ethertype == bpf_htons(ETHERTYPE_IPV6))
		return spread_ipv6(packet, at, room);
	return PASSED;
}

static __always_inline int spread_and_count(struct packet *packet)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct spread_counts *here = bpf_map_lookup_elem(&counts, &cpu);

	if (!here) /* cannot be: there is one for each possible CPU */
		return XDP_PASS;
	here->seen++;
	switch (spread(packet)) {
	case REWRITTEN:
		here->rewritten++;
		break;
	case PASSED:
		here->passed++;
		break;
	case MALFORMED:
		here->malformed++;
		break;
	}
	return XDP_PASS;
}

SEC("xdp")
int locality_spread(struct xdp_md *context)
{
	struct packet packet = {
		.context = context,
		.begin = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
		.length = context->data_end - context->data,
		.in_buffers = false,
	};

	return spread_and_count(&packet);
}

SEC("xdp.frags")
int locality_spread_buffers(struct xdp_md *context)
{
	struct packet packet = {
		.context = context,
		.begin = (void *)(long)context->data,
		.end = (void *)(long)context->data_end,
		.length = bpf_xdp_get_buff_len(context),
		.in_buffers = true,
	};

	return spread_and_count(&packet);
}

char LICENSE[] SEC("license") = "GPL";
