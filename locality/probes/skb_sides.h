/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose packet is it, where only some packets are asked for: by network namespace, device, port,
 * IP version, or thread.
 *
 * An sk_buff does not say all of that at its end. Its socket tells the namespace, while it has one;
 * its device does, until a protocol takes it from the device; its route does, until a socket takes
 * it. Its headers tell port and IP version until its data is freed. Who reads it is the current
 * thread while it reads; whose socket it is, is known once a thread has read from that socket or
 * sent by it. What cannot be told is counted as not told apart, and on neither side.
 *
 * bcc compiles none of it: engine bcc refuses filters of packets.
 */
#ifndef LOCALITY_SKB_SIDES_H
#define LOCALITY_SKB_SIDES_H

#include "skb_choice.h"
#ifndef LOCALITY_BCC
#include "connection.h"
#include "skb_owners.h"

/* The lowest bit of _skb_refdst says that no reference is held: include/linux/skbuff.h */
#define SKB_DST_NOREF 1UL
#define ETH_P_IPV6 0x86dd
#define TCPHDR_FIN 1
#define TCPHDR_SYN 2
#define TCPHDR_ACK 16
#define IP_OFFSET 0x1fff

/* `loads` is as in FIELD(). */
static __always_inline __u32 netns_of(struct sock *sk, bool loads)
{
	struct net *net = FIELD(sk, __sk_common.skc_net.net);

	return FIELD(net, ns.inum);
}

/* The namespace of a device; NULL for none, and for what is no device's address. */
static __always_inline struct net *net_of_device(struct net_device *dev)
{
	return dev ? BPF_CORE_READ(dev, nd_net.net) : NULL;
}

static __always_inline struct net_device *device_of_route(struct sk_buff *skb)
{
	struct dst_entry *dst = (void *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);

	return dst ? BPF_CORE_READ(dst, dev) : NULL;
}

/* The inode of a packet's namespace; 0 if it cannot be told. */
static __always_inline __u32 netns_of_packet(struct sk_buff *skb, bool loads)
{
	struct sock *sk = FIELD(skb, sk);
	struct net *net;

	/* First: in a receive queue, the device's place is used for something else. */
	if (sk)
		return netns_of(sk, loads);
	net = net_of_device(BPF_CORE_READ(skb, dev)) ?: net_of_device(device_of_route(skb));
	return net ? BPF_CORE_READ(net, ns.inum) : 0;
}

static __always_inline enum side side_of_netns(__u32 netns, __u32 wanted)
{
	return netns ? side_if(netns == wanted) : NOT_TOLD;
}

static __always_inline enum side side_of_device(struct net_device *dev)
{
	struct net *net = net_of_device(dev);

	if (!net)
		return NOT_TOLD;
	return side_if((__u32)BPF_CORE_READ(dev, ifindex) == only_ifindex &&
		       BPF_CORE_READ(net, ns.inum) == only_ifindex_netns);
}

/* A packet that was received: the index of a device is unique in its namespace alone. */
static __always_inline enum side side_of_receiver(struct sk_buff *skb, __u32 netns, bool loads)
{
	if ((__u32)FIELD(skb, skb_iif) != only_ifindex)
		return OTHERS;
	return side_of_netns(netns, only_ifindex_netns);
}

/* By its IP version and its local port, as long as its data is there. */
static __always_inline enum side side_of_headers(struct sk_buff *skb, enum kind kind, bool loads)
{
	unsigned char *header = FIELD(skb, head) + FIELD(skb, network_header);
	__u16 type = bpf_ntohs(FIELD(skb, protocol));
	__u8 ip[20] = {}, protocol, length;
	__be16 ports[2] = {};

	if (!type) /* TCP's originals have no headers */
		return NOT_TOLD;
	if (only_family && type != (only_family == 4 ? ETH_P_IP : ETH_P_IPV6))
		return OTHERS;
	if (!port_count)
		return OURS;
	if (type != ETH_P_IP && type != ETH_P_IPV6)
		return OTHERS;
	if (bpf_probe_read_kernel(ip, sizeof(ip), header))
		return NOT_TOLD;
	protocol = type == ETH_P_IP ? ip[9] : ip[6];
	length = type == ETH_P_IP ? (ip[0] & 15) * 4 : 40;
	if (type == ETH_P_IP && ((ip[6] << 8 | ip[7]) & IP_OFFSET))
		return NOT_TOLD; /* only the first fragment has ports */
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		/* 0, 43, 44, 60: headers of IPv6 before that of the protocol */
		return type == ETH_P_IPV6 && (!protocol || protocol == 43 || protocol == 44 ||
					      protocol == 60)
			       ? NOT_TOLD
			       : OTHERS;
	if (bpf_probe_read_kernel(ports, sizeof(ports), header + length))
		return NOT_TOLD;
	return side_if(wanted_port(bpf_ntohs(kind == RX ? ports[1] : ports[0])));
}

/* Of what a socket sends or reads; the packet in hand, or NULL. */
static __always_inline enum side side_of_family(struct sock *sk, struct sk_buff *skb, bool loads)
{
	if (FIELD(sk, __sk_common.skc_family) == AF_INET)
		return side_if(only_family == 4);
	if (skb)
		return side_if((FIELD(skb, protocol) == bpf_htons(ETH_P_IPV6)) == (only_family == 6));
	/* UDP of IPv6 reads IPv4, too, unless it is connected or was told not to. */
	if (FIELD(sk, sk_protocol) == IPPROTO_UDP &&
	    FIELD(sk, __sk_common.skc_state) != TCP_ESTABLISHED &&
	    !BITS(sk, __sk_common.skc_ipv6only))
		return NOT_TOLD;
	return side_if(ip_version(sk) == only_family);
}

/* By all that a full socket of TCP or UDP tells, but for its owner; the packet, or NULL. */
static __always_inline enum side side_of_socket(struct sock *sk, struct sk_buff *skb, bool loads)
{
	enum side side = side_if(!only_netns || netns_of(sk, loads) == only_netns);

	if (only_family)
		side = both(side, side_of_family(sk, skb, loads));
	if (port_count)
		side = both(side, side_if(wanted_port(FIELD(sk, __sk_common.skc_num))));
	return side;
}

/* A packet whose last user lets go of it, before anything of it is freed. */
static __always_inline enum side side_of_packet(struct row *row, struct sk_buff *skb,
						enum kind kind, bool loads)
{
	enum side side = OURS;
	__u32 netns = 0;

	if (!selects() || kind > TX)
		return OURS;
	if (only_netns || only_ifindex)
		netns = netns_of_packet(skb, loads);
	if (only_netns)
		side = side_of_netns(netns, only_netns);
	if (only_ifindex && kind == RX)
		side = both(side, side_of_receiver(skb, netns, loads));
	else if (only_ifindex)
		side = both(side, side_of_device(BPF_CORE_READ(skb, dev) ?: device_of_route(skb)));
	if (selects_headers())
		side = both(side, side_of_headers(skb, kind, loads));
	if (selects_tasks())
		side = both(side, side_of_owner(row, FIELD(skb, sk)));
	return side;
}

/* The current thread reads from a socket; the packet in hand, or NULL. */
static __always_inline enum side side_of_read(struct row *row, struct sock *sk,
					      struct sk_buff *skb, bool loads)
{
	enum side side, of_task;

	if (!selects())
		return OURS;
	side = side_of_socket(sk, skb, loads);
	if (only_ifindex)
		side = both(side,
			    skb ? side_of_receiver(skb, netns_of(sk, loads), loads) : NOT_TOLD);
	if (selects_tasks()) {
		take_side(row, sk, &of_task);
		side = both(side, of_task);
	}
	return side;
}

/* What a connection has sent; on which device is not told here. Only for typed programs. */
static __always_inline enum side side_of_connection(struct row *row, struct sock *sk)
{
	return selects() ? both(side_of_socket(sk, NULL, true), side_of_owner(row, sk)) : OURS;
}

/*
 * The driver's device stands in a pair's clone even after it was freed; not if the clone was then
 * received, as over loopback and veth.
 */
static __always_inline struct net_device *device_of_original(struct sk_buff *original)
{
	struct sk_buff *clone = (void *)original + bpf_core_type_size(struct sk_buff);

	if (BPF_CORE_READ_BITFIELD_PROBED(clone, fclone) != SKB_FCLONE_CLONE ||
	    BPF_CORE_READ(clone, skb_iif))
		return NULL;
	return BPF_CORE_READ(clone, dev);
}

/* An original that is acknowledged: by its connection, and by the device that sent it. */
static __always_inline enum side side_of_original(struct sk_buff *skb, enum side of_connection)
{
	return only_ifindex ? both(of_connection, side_of_device(device_of_original(skb)))
			    : of_connection;
}

/* An original of which nothing is known but the device that sent it. */
static __always_inline enum side side_by_device(struct sk_buff *skb)
{
	struct net_device *dev;
	enum side side;

	if (!selects())
		return OURS;
	dev = device_of_original(skb);
	side = selects_headers() || selects_tasks() ? NOT_TOLD : OURS;
	if (only_netns)
		side = both(side, side_of_netns(dev ? BPF_CORE_READ(dev, nd_net.net, ns.inum) : 0,
						only_netns));
	if (only_ifindex)
		side = both(side, side_of_device(dev));
	return side;
}

static __always_inline struct tcp_skb_cb *tcp_part(struct sk_buff *skb)
{
	return (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
}

/*
 * A bare ACK, or one with a FIN or SYN, which takes a sequence number of its own. Other
 * protocols' control blocks have no ACK there.
 */
static __always_inline bool carries_nothing(struct sk_buff *skb)
{
	struct tcp_skb_cb *cb = tcp_part(skb);
	__u32 taken = READ(cb, struct tcp_skb_cb, end_seq) - READ(cb, struct tcp_skb_cb, seq);
	__u8 flags = READ(cb, struct tcp_skb_cb, tcp_flags);

	return flags & TCPHDR_ACK && taken == !!(flags & (TCPHDR_FIN | TCPHDR_SYN));
}

/* A bare ACK is freed before its connection has done with it. Only for typed programs. */
static __always_inline void note_segment(struct row *row, struct sock *sk,
					 struct sk_buff *segment, enum side of_connection)
{
	if (!selects() || !carries_nothing(segment))
		return;
	row->segment = (__u64)segment;
	row->segment_side = of_connection;
	if (only_ifindex)
		row->segment_side =
			both(of_connection, side_of_receiver(segment, netns_of(sk, true), true));
}

/* The side of a received segment that goes back without a word. */
static __always_inline enum side side_of_segment(struct row *row, const void *memory)
{
	if (!selects())
		return OURS;
	if (row->segment != (__u64)memory)
		return NOT_TOLD;
	row->segment = 0;
	return row->segment_side;
}

#endif
#endif
