/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record of an accepted connection, the filters, and the ring: what the probes have in common
 * that begin with an accept.
 *
 * rxcpu is sk->sk_incoming_cpu, what getsockopt(SO_INCOMING_CPU) returns
 * (net/core/sock.c). How long the connection waited in the accept queue is now minus
 * tcp_sock.rcvq_space.time, which tcp_init_buffer_space() (net/ipv4/tcp_input.c) sets
 * when the connection is established and only a first recv sets again.
 */
#ifndef LOCALITY_ACCEPT_RECORD_H
#define LOCALITY_ACCEPT_RECORD_H

#include "connection.h"
#include "filter.h"

enum {
	WAIT_KNOWN = 1,
};

struct accept_event {
	__u64 time;   /* CLOCK_MONOTONIC, ns */
	__u64 wait;   /* ns in the accept queue, if flags & WAIT_KNOWN */
	__u64 cgroup; /* of the thread (v2) */
	__u32 cpu;
	__s32 rxcpu;
	__u32 pid;
	__u32 tid;
	__s32 listen_fd;
	__s32 fd;
	__u32 netns;
	__u16 lport;
	__u16 rport;
	__u8 laddr[16];  /* network order; IPv4 in the first four bytes */
	__u8 raddr[16];
	char comm[COMM_LEN];
	__u8 family;  /* 4 or 6: the IP version of the packets */
	__u8 flags;
	__u8 pad[6];
};

/* Filters beside those of filter.h; -1 and 0 for none. */
CONSTANT(__s32, only_cpu);
CONSTANT(__u8, only_family);

/* The reader sleeps until this much waits for it, or until its own timer. */
CONSTANT(__u64, wakeup_bytes);

RING(events, 4 << 20);

/* Records the ring had no room for. */
GLOBAL(__u64, lost);

LAYOUT(accept_event);

static __always_inline bool wanted_caller(void)
{
	if (only_cpu >= 0 && bpf_get_smp_processor_id() != (__u32)only_cpu)
		return false;
	return wanted_task();
}

/* When the connection was established, in CLOCK_MONOTONIC ns; 0 where not known. */
static __always_inline __u64 established_at(struct sock *sk)
{
	__u16 protocol = READ(sk, struct sock, sk_protocol);

	if (protocol == IPPROTO_MPTCP && bpf_core_type_exists(struct mptcp_sock))
		sk = READ(sk, struct mptcp_sock, first);
	else if (protocol != IPPROTO_TCP)
		return 0;
	return READ(sk, struct tcp_sock, rcvq_space.time) * 1000;
}

/* A socket that this task accepted, with what the filters ask of it. */
struct accepted_socket {
	struct sock *sk;
	__u8 version; /* of IP */
	__u16 port;
};

/* Whether a file is a socket of a connection that is wanted. */
static __always_inline bool wanted_socket(struct file *file, struct accepted_socket *found)
{
	struct socket *socket = READ(file, struct file, private_data);

	/* Also false if another thread has closed and reused the descriptor meanwhile. */
	if (READ(socket, struct socket, file) != file)
		return false;
	found->sk = READ(socket, struct socket, sk);
	found->version = ip_version(found->sk);
	if (!found->version || (only_family && found->version != only_family))
		return false;
	found->port = local_port(found->sk);
	return wanted_port(found->port) && wanted_netns(found->sk);
}

static __always_inline void describe_accept(struct accept_event *e,
					    const struct accepted_socket *found, int listen_fd,
					    int fd)
{
	struct sock *sk = found->sk;
	__u64 id, since;

	e->family = found->version;
	read_addresses(sk, e->family, e->laddr, e->raddr);
	e->time = bpf_ktime_get_ns();
	since = established_at(sk);
	e->flags = since ? WAIT_KNOWN : 0;
	e->wait = since && e->time > since ? e->time - since : 0;
	e->cgroup = bpf_get_current_cgroup_id();
	e->cpu = bpf_get_smp_processor_id();
	e->rxcpu = READ(sk, struct sock, __sk_common.skc_incoming_cpu);
	id = own_pid_tgid();
	e->pid = id >> 32;
	e->tid = id;
	e->listen_fd = listen_fd;
	e->fd = fd;
	e->netns = netns_number(sk);
	e->lport = found->port;
	e->rport = bpf_ntohs(READ(sk, struct sock, __sk_common.skc_dport));
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	__builtin_memset(e->pad, 0, sizeof(e->pad));
}

/* Whether the reader is woken for the record that is submitted now. */
static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes ? BPF_RB_FORCE_WAKEUP
									    : BPF_RB_NO_WAKEUP;
}

/* The file behind a descriptor of this task, looked up as the kernel does. */
static __always_inline struct file *file_of(unsigned int fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct files_struct *files = READ(task, struct task_struct, files);
	struct fdtable *table = READ(files, struct files_struct, fdt);
	struct file **slot, *file = NULL;

	if (fd >= READ(table, struct fdtable, max_fds))
		return NULL;
	slot = READ(table, struct fdtable, fd) + fd;
	bpf_probe_read_kernel(&file, sizeof(file), slot);
	return file;
}

#endif
