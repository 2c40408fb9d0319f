/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The types of the kernel that the probes read, with just the members they read.
 *
 * preserve_access_index makes every access a CO-RE relocation: libbpf puts in the
 * running kernel's offsets when it loads the object, so order, size and everything
 * left out here are of no importance. Names are the kernel's.
 */
#ifndef LOCALITY_KERNEL_TYPES_H
#define LOCALITY_KERNEL_TYPES_H

/* Tells bpf_tracing.h that registers have the kernel's names, not those of user space. */
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

#define NULL ((void *)0)
#define true 1
#define false 0

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

/* include/linux/socket.h, include/linux/net.h, include/uapi/linux/in.h */
enum {
	AF_INET = 2,
	AF_INET6 = 10,
	SOCK_STREAM = 1,
	SOCK_DGRAM = 2,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_MPTCP = 262,
};

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_CLOSE = 7,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_LAST_ACK = 9,
	TCP_CLOSING = 11,
};

/* include/net/sock.h: the numbers of bits of skc_flags; the running kernel's are asked for */
enum sock_flags {
	SOCK_DONE = 1,
};

/* include/linux/skbuff.h, include/uapi/linux/if_packet.h */
enum {
	SKB_FCLONE_UNAVAILABLE = 0,
	SKB_FCLONE_ORIG = 1,
	SKB_FCLONE_CLONE = 2,
	PACKET_OUTGOING = 4,
};

/* include/uapi/linux/bpf.h: whether the running kernel has this helper is asked */
enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Tasks and their files: include/linux/sched.h, fdtable.h, fs.h */

struct file {
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

/* Their cgroups: include/linux/cgroup-defs.h, kernfs.h */

struct kernfs_node {
	__u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	struct files_struct *files;
	struct css_set *cgroups;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	int pid;
	char comm[16];
};

/* Sockets: include/net/sock.h, include/linux/net.h, tcp.h, net/mptcp/protocol.h */

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

/* Numbers of tasks, one for each pid namespace: include/linux/pid.h, pid_namespace.h */

struct pid_namespace {
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	unsigned int skc_hash;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
	int skc_incoming_cpu;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u16 sk_type;
	__u16 sk_protocol;
	__u8 sk_shutdown;
	__u32 sk_max_ack_backlog;
	__u8 sk_userlocks : 4;
};

struct inet_sock {
	__be16 inet_sport;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

/* include/linux/fs.h, include/net/sock.h */

struct inode {
	unsigned long i_ino;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct list_head {
	struct list_head *next;
};

struct rb_node {
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct tcp_sack_block {
	__u32 start_seq;
	__u32 end_seq;
};

struct tcp_sock {
	struct {
		__u64 time;
	} rcvq_space;
	__u64 tcp_mstamp;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 total_retrans;
	__u32 srtt_us;
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 rcv_ooopack;
	struct rb_root out_of_order_queue;
	struct tcp_sack_block selective_acks[4];
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	struct list_head tsorted_sent_queue;
};

struct mptcp_sock {
	struct sock *first;
};

/* io_uring: include/linux/io_uring_types.h, io_uring/net.c, filetable.h, rsrc.h */

struct io_cmd_data {
	struct file *file;
};

struct io_accept {
	__u32 file_slot;
};

struct io_cqe {
	__u64 user_data;
	union {
		int fd;
	};
};

struct io_rsrc_node {
	unsigned long file_ptr;
};

struct io_rsrc_data {
	struct io_rsrc_node **nodes;
};

struct io_file_table {
	unsigned long *files; /* struct io_fixed_file, which is just this word */
	struct io_rsrc_data data;
};

struct io_ring_ctx {
	struct io_file_table file_table;
};

struct io_kiocb {
	union {
		struct io_cmd_data cmd;
	};
	__u8 opcode;
	unsigned int flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
};

struct io_uring_cqe {
	__u64 user_data;
	__s32 res;
};

/* Packets: include/linux/skbuff.h, include/net/tcp.h */

typedef struct refcount_struct {
	struct {
		int counter;
	} refs;
} refcount_t;

/* include/linux/netdevice.h, include/net/dst.h */
struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct sk_buff *next;
	struct net_device *dev;
	unsigned long _skb_refdst;
	struct rb_node rbnode;
	struct sock *sk;
	__s64 tstamp;
	__u64 skb_mstamp_ns;
	struct list_head tcp_tsorted_anchor;
	char cb[48];
	unsigned int len;
	__u8 fclone : 2;
	__u8 pkt_type : 3;
	__u16 alloc_cpu;
	int skb_iif;
	unsigned int sender_cpu;
	__be16 protocol;
	__u16 network_header;
	unsigned char *head;
	unsigned char *data;
	refcount_t users;
};

struct sk_buff_fclones {
	struct sk_buff skb1;
	struct sk_buff skb2;
	refcount_t fclone_ref;
};

/* include/net/inet_frag.h */

struct inet_frag_queue {
	struct rb_root rb_fragments;
};

struct iphdr {
	__u8 protocol;
};

struct ipv6hdr {
	__u8 nexthdr;
};

struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u8 tcp_flags;
	__u32 ack_seq;
};

struct kmem_cache {
	const char *name;
};

/* Contexts: kernel/trace/trace.h; for struct pt_regs see architecture.h */

struct syscall_trace_exit {
	long ret;
};

#pragma clang attribute pop

#endif
