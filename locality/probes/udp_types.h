/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the UDP probe reads beyond kernel_types.h. A name with ___ is a CO-RE flavour:
 * libbpf drops the suffix, so it adds members to a type described elsewhere.
 */
#ifndef LOCALITY_UDP_TYPES_H
#define LOCALITY_UDP_TYPES_H

#include "kernel_differences.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/skbuff.h */

struct sk_buff_head {
	struct sk_buff *next;
	__u32 qlen;
};

struct sk_buff___datagram {
	__s64 tstamp;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 alloc_cpu;
	unsigned char *head;
};

/* include/net/sock.h, include/linux/udp.h */

typedef struct {
	int counter;
} atomic_t;

struct sock___receiver {
	struct sk_buff_head sk_receive_queue;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
};

struct udp_sock {
	struct sk_buff_head reader_queue;
};

/* include/uapi/linux/ip.h, ipv6.h, udp.h */

struct iphdr___addresses {
	__be32 saddr;
	__be32 daddr;
};

struct ipv6hdr___addresses {
	struct in6_addr saddr;
	struct in6_addr daddr;
};

struct udphdr {
	__be16 source;
	__be16 dest;
};


#pragma clang attribute pop

#endif
