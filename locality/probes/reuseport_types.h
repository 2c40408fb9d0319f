/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the reuseport probe reads beyond kernel_types.h. A name with ___ is a CO-RE
 * flavour: libbpf drops the suffix, so it adds members to a type described elsewhere.
 */
#ifndef LOCALITY_REUSEPORT_TYPES_H
#define LOCALITY_REUSEPORT_TYPES_H

#include "kernel_types.h"

enum {
	TCP_LISTEN = 10, /* include/net/tcp_states.h */
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/filter.h, include/linux/bpf.h */

struct sock_filter {
	__u16 code;
	__u8 jt;
	__u8 jf;
	__u32 k;
};

struct sock_fprog_kern {
	__u16 len;
	struct sock_filter *filter;
};

struct bpf_prog_aux {
	__u32 id;
	char name[16];
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
	struct sock_fprog_kern *orig_prog;
};

/* include/net/sock_reuseport.h, include/net/sock.h */

struct sock_reuseport {
	__u16 num_socks;
	struct bpf_prog *prog;
	struct sock *socks[];
};

typedef struct {
	__s64 counter;
} atomic64_t;

/* Who watches a file by epoll: include/linux/fs.h, fs/eventpoll.c */

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct file___watched {
	struct hlist_head *f_ep;
};

struct eventpoll;

struct epitem {
	struct eventpoll *ep;
	struct hlist_node fllink;
};

struct sock_common___reuseport {
	volatile unsigned char skc_state;
	atomic64_t skc_cookie;
};

struct sock___reuseport {
	struct sock_common___reuseport __sk_common;
	struct sock_reuseport *sk_reuseport_cb;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
};

#pragma clang attribute pop

#endif
