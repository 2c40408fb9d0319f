/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The row of read_counters.h that a read of a TCP connection is counted in.
 */
#ifndef LOCALITY_TCP_READER_H
#define LOCALITY_TCP_READER_H

#include "connection.h"
#include "kernel_differences.h"
#include "read_counters.h"

/* Whose reads of this connection are counted where; `port` is the local one, `tid` the reader. */
static __always_inline struct read_key tcp_read_key(struct sock *sk, __u16 port, __u32 tid)
{
	struct read_key key = {
		.netns = netns_number(sk),
		.tid = tid,
		.port = port,
		.protocol = IPPROTO_TCP,
	};

	/* An accepted socket is a copy of its listener (sk_clone), which has a backlog. */
	if (!READ(sk, struct sock, sk_max_ack_backlog)) {
		key.outgoing = 1;
		key.port = bpf_ntohs(READ(sk, struct sock, __sk_common.skc_dport));
	}
	return key;
}

/* The row of this thread; NULL, and counted, if there is no room for it. */
static __always_inline struct read_row *tcp_reader_row(struct sock *sk, __u16 port)
{
	__u64 id = own_pid_tgid();
	struct read_key key = tcp_read_key(sk, port, (__u32)id);
	struct read_row *row = read_row(&key, id >> 32);

	if (row)
		name_reader(row);
	return row;
}

#endif
