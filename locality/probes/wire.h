/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets as they are on the wire, for programs that see them before the stack does.
 *
 * These layouts are those of the standards, not of a kernel: nothing is relocated.
 */
#ifndef LOCALITY_WIRE_H
#define LOCALITY_WIRE_H

#include <bpf/bpf_endian.h>

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_VLAN = 0x8100,         /* 802.1Q */
	ETHERTYPE_SERVICE_VLAN = 0x88a8, /* 802.1ad */
	ETHERTYPE_IPV6 = 0x86dd,
	PROTOCOL_UDP = 17,
	/* More fragments, and where this one belongs: both zero in a whole datagram. */
	IPV4_FRAGMENT = 0x3fff,
};

struct wire_ethernet {
	__u8 destination[6];
	__u8 source[6];
	__be16 ethertype;
};

struct wire_vlan {
	__be16 tag;
	__be16 ethertype;
};

struct wire_ipv4 {
	__u8 version_and_words;
	__u8 traffic_class;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__be32 addresses[2];
};

struct wire_ipv6 {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__be32 addresses[8];
};

struct wire_udp {
	__be16 source;
	__be16 destination;
	__be16 length;
	__u16 checksum;
};

/* RFC 1071 in 16 bits; 0 only of 0. */
static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

#endif
