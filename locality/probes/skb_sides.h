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

#include "skb_counters.h"
#ifndef LOCALITY_BCC
#include "connection.h"
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

/*
 * Whether a socket is that of a thread that is asked for: who read or sent last, and what was found
 * of that thread, which is not asked again each time.
 */
struct owner {
	__u64 task;
	__u64 side;
};

LRU_MAP(owners, __u64, struct owner);

/* The lowest bit of _skb_refdst says that no reference is held: include/linux/skbuff.h */
#define SKB_DST_NOREF 1UL
#define ETH_P_IPV6 0x86dd
#define TCPHDR_FIN 1
#define TCPHDR_SYN 2
#define TCPHDR_ACK 16
#define IP_OFFSET 0x1fff

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

static __always_inline enum side side_if(bool ours)
{
	return ours ? OURS : OTHERS;
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

/*
 * In this order: in a receive queue, the device's place is used for something else, which the
 * socket must hide.
 */
static __always_inline struct net *net_of_packet(struct sk_buff *skb)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct net *net;

	if (sk)
		return BPF_CORE_READ(sk, __sk_common.skc_net.net);
	net = net_of_device(BPF_CORE_READ(skb, dev));
	return net ?: net_of_device(device_of_route(skb));
}

static __always_inline enum side side_of_net(struct net *net, __u32 inode)
{
	return net ? side_if(BPF_CORE_READ(net, ns.inum) == inode) : NOT_TOLD;
}

static __always_inline enum side side_of_device(struct net_device *dev)
{
	struct net *net = net_of_device(dev);

	if (!net)
		return NOT_TOLD;
	if ((__u32)BPF_CORE_READ(dev, ifindex) != only_ifindex)
		return OTHERS;
	return side_of_net(net, only_ifindex_netns);
}

/* A packet that was received: the index of a device is unique in its namespace alone. */
static __always_inline enum side side_of_receiver(struct sk_buff *skb, struct net *net)
{
	if ((__u32)BPF_CORE_READ(skb, skb_iif) != only_ifindex)
		return OTHERS;
	return side_of_net(net, only_ifindex_netns);
}

/* By its IP version and its local port, as long as its data is there. */
static __always_inline enum side side_of_headers(struct sk_buff *skb, enum kind kind)
{
	unsigned char *header = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	__u16 type = bpf_ntohs(BPF_CORE_READ(skb, protocol));
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

/* Of a socket: what is known by who read or sent last. */
static __always_inline enum side side_of_owner(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct owner *known;

	if (!selects_tasks())
		return OURS;
	known = sk ? bpf_map_lookup_elem(&owners, &key) : NULL;
	return known ? known->side : NOT_TOLD;
}

/* The current thread reads from a socket, or sends by it. */
static __always_inline enum side side_of_task(struct sock *sk)
{
	struct owner owner = {.task = bpf_get_current_pid_tgid()};
	__u64 key = (__u64)sk;
	struct owner *known = bpf_map_lookup_elem(&owners, &key);

	if (known && known->task == owner.task)
		return known->side;
	owner.side = side_if(wanted_task());
	bpf_map_update_elem(&owners, &key, &owner, BPF_ANY);
	return owner.side;
}

/* By all that a full socket of TCP or UDP tells, but for its owner. */
static __always_inline enum side side_of_socket(struct sock *sk)
{
	if (!wanted_netns(sk) || (only_family && ip_version(sk) != only_family))
		return OTHERS;
	return side_if(wanted_port(BPF_CORE_READ(sk, __sk_common.skc_num)));
}

/* A packet whose last user lets go of it, before anything of it is freed. */
static __always_inline enum side side_of_packet(struct sk_buff *skb, enum kind kind)
{
	enum side side = OURS;
	struct net *net = NULL;

	if (!selects() || kind > TX)
		return OURS;
	if (only_netns || only_ifindex)
		net = net_of_packet(skb);
	if (only_netns)
		side = side_of_net(net, only_netns);
	if (only_ifindex && kind == RX)
		side = both(side, side_of_receiver(skb, net));
	else if (only_ifindex)
		side = both(side, side_of_device(BPF_CORE_READ(skb, dev) ?: device_of_route(skb)));
	if (selects_headers())
		side = both(side, side_of_headers(skb, kind));
	if (selects_tasks())
		side = both(side, side_of_owner(BPF_CORE_READ(skb, sk)));
	return side;
}

/* The current thread reads from a socket; the packet in hand, or NULL. */
static __always_inline enum side side_of_read(struct sock *sk, struct sk_buff *skb)
{
	enum side side;

	if (!selects())
		return OURS;
	side = side_of_socket(sk);
	if (only_ifindex)
		side = both(side, skb ? side_of_receiver(
						skb, BPF_CORE_READ(sk, __sk_common.skc_net.net))
				      : NOT_TOLD);
	if (selects_tasks())
		side = both(side, side_of_task(sk));
	return side;
}

/* What a connection has sent; on which device is not told here. */
static __always_inline enum side side_of_connection(struct sock *sk)
{
	return selects() ? both(side_of_socket(sk), side_of_owner(sk)) : OURS;
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
		side = both(side, side_of_net(net_of_device(dev), only_netns));
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

/* A bare ACK is freed before its connection has done with it. */
static __always_inline void note_segment(struct sock *sk, struct sk_buff *segment,
					 enum side of_connection)
{
	struct row *row = selects() && carries_nothing(segment) ? this_row() : NULL;

	if (!row)
		return;
	row->segment = (__u64)segment;
	row->segment_side = of_connection;
	if (only_ifindex)
		row->segment_side = both(
			of_connection,
			side_of_receiver(segment, BPF_CORE_READ(sk, __sk_common.skc_net.net)));
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

TYPED_TRACEPOINT(owner_sends, sock_send_length, struct sock *sk)
{
	side_of_task(sk);
	return 0;
}

/* The address of a socket is used again. */
TYPED_TRACEPOINT(owner_gone, tcp_destroy_sock, struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&owners, &key);
	return 0;
}

#endif
#endif
