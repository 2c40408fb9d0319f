// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads of TCP connections: which thread read, on which CPU, and on which CPU the stack handled
 * the connection's last packet before it (sk_incoming_cpu). Each has a record of its own, or is
 * counted in the row of its reader: `counts_rows`.
 *
 *   sock_recv_length         the end of a read of any kind that goes through sock_recvmsg(), with
 *                            what it took (raw tracepoint, 6.3); splice() does not
 *   tcp_rcv_space_adjust     before it: once for each packet that a read took data from, and for
 *                            splice() too; it does not tell a read that only looks (MSG_PEEK)
 *                            from others, so that one is recorded as well
 * With the first one, a read that only looks and one of the error queue are not recorded.
 */
#include "tcp_reader.h"

LICENSE_GPL;

#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000

struct tcp_read_event {
	__u64 time;  /* CLOCK_MONOTONIC, ns */
	__u64 inode; /* of the connection's socket; 0 while it is being closed */
	__u32 netns;
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__s32 rxcpu;
	__u16 lport;
	__u16 rport;
	__u8 laddr[16]; /* network order; IPv4 in the first four bytes */
	__u8 raddr[16];
};

RING(events, 4 << 20);

/* Records the ring had no room for. */
GLOBAL(__u64, lost);

/* Count in rows, and send no records. */
CONSTANT(bool, counts_rows);

/* The reader sleeps until this much waits for it, or until its own timer. */
CONSTANT(__u64, wakeup_bytes);

LAYOUT(tcp_read_event);

static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);

	return socket ? BPF_CORE_READ((struct socket_alloc *)socket, vfs_inode.i_ino) : 0;
}

static __always_inline void count(struct sock *sk, __u16 port, __u64 bytes)
{
	struct read_row *row = tcp_reader_row(sk, port);

	if (row)
		count_in_row(row, bytes, bpf_get_smp_processor_id(),
			     BPF_CORE_READ(sk, __sk_common.skc_incoming_cpu));
}

/* A read took so many bytes; 0 if that is not known. */
static __always_inline void was_read(struct sock *sk, __u64 bytes)
{
	struct tcp_read_event *e;
	__u8 version;
	__u16 port;
	__u64 id;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return;
	version = ip_version(sk);
	port = local_port(sk);
	if (!version || !wanted_port(port) || !wanted_netns(sk) || !wanted_task())
		return;
	if (counts_rows) {
		count(sk, port, bytes);
		return;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	id = own_pid_tgid();
	e->time = bpf_ktime_get_ns();
	e->inode = inode_of(sk);
	e->netns = netns_number(sk);
	e->pid = id >> 32;
	e->tid = id;
	e->cpu = bpf_get_smp_processor_id();
	e->rxcpu = BPF_CORE_READ(sk, __sk_common.skc_incoming_cpu);
	e->lport = port;
	e->rport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	read_addresses(sk, version, e->laddr, e->raddr);
	bpf_ringbuf_submit(e, bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes
				      ? BPF_RB_FORCE_WAKEUP
				      : BPF_RB_NO_WAKEUP);
}

TYPED_TRACEPOINT(raw_received, sock_recv_length, struct sock *sk, int length, int flags)
{
	if (length > 0 && !(flags & (MSG_PEEK | MSG_ERRQUEUE)))
		was_read(sk, length);
	return 0;
}

TYPED_TRACEPOINT(raw_adjusted, tcp_rcv_space_adjust, struct sock *sk)
{
	was_read(sk, 0);
	return 0;
}
