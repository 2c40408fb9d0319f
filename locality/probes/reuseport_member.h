/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tells whether a member of a reuseport group is what it was: that is read with the group, and
 * compared later without a descriptor of the socket.
 *
 * An address is no more than a number here. Of a socket that was closed, the memory may be another
 * socket's by now; reads of it cannot fault, and its inode is another one then.
 */
#ifndef LOCALITY_REUSEPORT_MEMBER_H
#define LOCALITY_REUSEPORT_MEMBER_H

#include "reuseport_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* The verifier follows every turn of a loop: so many epoll sets of a socket are looked at. */
#define MOST_WATCHERS 16

struct member_state {
	__u64 sk;
	__u64 inode; /* 0 while the socket is being closed */
	__u64 group;
	__u64 prog;
	__u64 filter;   /* what a classic program was made from */
	__u64 watchers; /* a sum over the epoll sets that watch the socket */
	__u32 index;
	__u32 num_socks;
};

/*
 * Since 319c15174757 "epoll: take epitem list out of struct file", 5.11. Before it the sum is 0,
 * and that an epoll set watches or leaves a socket is not seen here.
 */
static __always_inline __u64 watchers_of(struct file *file)
{
	struct file___watched *watched = (void *)file;
	struct hlist_node *node;
	__u64 sum = 0;

	if (!file || !bpf_core_field_exists(watched->f_ep))
		return 0;
	node = BPF_CORE_READ(watched, f_ep, first);
	for (int i = 0; i < MOST_WATCHERS && node; i++) {
		struct epitem *item = (void *)node - bpf_core_field_offset(struct epitem, fllink);

		sum += (__u64)item ^ (__u64)BPF_CORE_READ(item, ep) << 1;
		node = BPF_CORE_READ(node, next);
	}
	return sum;
}

static __always_inline void read_state(struct member_state *state, struct sock *sk, __u32 index)
{
	struct sock___reuseport *member = (void *)sk;
	struct socket_alloc *owner = (void *)BPF_CORE_READ(sk, sk_socket);
	struct sock_reuseport *group = BPF_CORE_READ(member, sk_reuseport_cb);
	struct bpf_prog *prog = BPF_CORE_READ(group, prog);
	struct sock *there = NULL;

	state->num_socks = BPF_CORE_READ(group, num_socks);
	if (group)
		bpf_probe_read_kernel(&there, sizeof(there), &group->socks[index]);
	state->sk = (__u64)there;
	state->index = index;
	state->group = (__u64)group;
	state->prog = (__u64)prog;
	state->filter = (__u64)BPF_CORE_READ(prog, orig_prog, filter);
	state->inode = owner ? BPF_CORE_READ(owner, vfs_inode.i_ino) : 0;
	state->watchers = owner ? watchers_of(BPF_CORE_READ(owner, socket.file)) : 0;
}

#endif
