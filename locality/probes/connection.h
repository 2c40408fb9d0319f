/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two ends of a TCP connection, from its socket.
 */
#ifndef LOCALITY_CONNECTION_H
#define LOCALITY_CONNECTION_H

#include "kernel_differences.h"

/*
 * The IP version of the connection's packets; 0 for other families. An IPv6 socket that
 * took an IPv4 connection has mapped addresses, ::ffff:a.b.c.d.
 */
static __always_inline __u8 ip_version(struct sock *sk)
{
	__u16 family = READ(sk, struct sock, __sk_common.skc_family);
	__u32 word[4];

	if (family != AF_INET6)
		return family == AF_INET ? 4 : 0;
	BPF_CORE_READ_INTO(&word, sk, __sk_common.skc_v6_daddr);
	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff) ? 4 : 6;
}

/*
 * The port the connection came to. skc_num is 0 once the peer has reset a connection that waits
 * to be accepted: the port was given back (inet_put_port). This one stays.
 */
static __always_inline __u16 local_port(struct sock *sk)
{
	return bpf_ntohs(READ(sk, struct inet_sock, inet_sport));
}

/* Its addresses, 16 bytes each: network order; IPv4 in the first four bytes. */
static __always_inline void read_addresses(struct sock *sk, __u8 version, __u8 *local,
					   __u8 *remote)
{
	if (version == 6) {
		BPF_CORE_READ_INTO((__u8(*)[16])local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((__u8(*)[16])remote, sk, __sk_common.skc_v6_daddr);
		return;
	}
	__builtin_memset(local, 0, 16);
	__builtin_memset(remote, 0, 16);
	*(__be32 *)local = READ(sk, struct sock, __sk_common.skc_rcv_saddr);
	*(__be32 *)remote = READ(sk, struct sock, __sk_common.skc_daddr);
}

#endif
