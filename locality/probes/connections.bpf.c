/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One record for each accepted connection when it is over: the record of its accept, and what
 * came of it.
 *
 * A connection is followed from its accept, by the address of its socket, in a table of bounded
 * size. A connection that finds no room is counted in `unplaced`.
 *
 *   an accept                accept_probes.h puts the connection into the table
 *   a read                   as in tcp_reads.bpf.c: sock_recv_length, or before Linux 6.3
 *                            tcp_rcv_space_adjust; that one always tells how long the first read
 *                            came after the last packet
 *   inet_sock_set_state      TCP has ended. Its figures are read here, for a socket that is aborted
 *                            by its own side loses them at once (tcp_disconnect).
 *   tcp_destroy_sock         the program has closed the socket as well: the connection's record
 *                            is sent and it leaves the table. Not sooner, for what is in the
 *                            receive queue can still be read when TCP has ended.
 *
 * The address of a socket is used again. An entry whose end was not seen (a program that the
 * kernel skipped) is recognised by the ports, and counted in `lost`.
 */
#include "accept_record.h"
#include "kernel_differences.h"

LICENSE_GPL;

#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000

/* include/uapi/asm-generic/errno-base.h */
#define EEXIST 17

/* locality/connections/columns.py: ENDS */
enum {
	CLIENT_CLOSED_FIRST,
	SERVER_CLOSED_FIRST,
	ABORTED,
};

struct connection {
	struct accept_event accept;
	__u64 ended;       /* by TCP: CLOCK_MONOTONIC, ns; 0 before */
	__u64 received;    /* bytes of data that TCP received in order */
	__u64 sent;        /* bytes of data that TCP sent; what it sent again counts once */
	__u64 reads;       /* that took data */
	__u64 local_reads; /* on the CPU that handled the connection's last packet */
	__u64 read;        /* bytes that they took */
	__u64 first_read;  /* when it ended: CLOCK_MONOTONIC, ns */
	__u64 last_packet; /* when TCP handled the last packet before it: CLOCK_MONOTONIC, ns */
	__u32 retransmits; /* segments */
	__u32 srtt;        /* smoothed round-trip time in 1/8 us; 0 if there is none */
	__u32 reader_pid;  /* whose read was the first, and where */
	__u32 reader_tid;
	__u32 reader_cpu;
	__s32 reader_rxcpu;
	char reader_comm[COMM_LEN];
	__u32 copied_seq;  /* how far the last read came */
	__u8 end;
	__u8 pad[3];
};

LAYOUT(connection);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

/* Connections that came into the table, and those that left it. */
GLOBAL(__u64, followed);
GLOBAL(__u64, gone);

/* Connections for which the table had no room. */
GLOBAL(__u64, unplaced);

/* A FIN takes a number as a byte of data does, and is counted with what was received. */
static __always_inline __u64 received_by(struct tcp_sock *tp)
{
	__u64 bytes = BPF_CORE_READ(tp, bytes_received);
	__u64 flags = BPF_CORE_READ((struct sock *)tp, __sk_common.skc_flags);
	__u64 fin = flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;

	return bytes > fin ? bytes - fin : 0;
}

/*
 * What was acknowledged and what is on its way, without the FIN that was sent in `state`. Not
 * bytes_sent - bytes_retrans: what this machine's own queue drops is sent again and is in the first
 * each time, but not in the second.
 */
static __always_inline __u64 sent_by(struct tcp_sock *tp, int state)
{
	__u32 next = BPF_CORE_READ(tp, snd_nxt);
	__u64 bytes = BPF_CORE_READ(tp, bytes_acked) + (__u32)(next - BPF_CORE_READ(tp, snd_una));
	bool closed = state == TCP_LAST_ACK || (state >= TCP_FIN_WAIT1 && state <= TCP_TIME_WAIT) ||
		      state == TCP_CLOSING;
	__u64 fin = closed && next == BPF_CORE_READ(tp, write_seq);

	return bytes > fin ? bytes - fin : 0;
}

/* TCP left `state` and is over: from here on its socket has nothing more to say of it. */
static __always_inline void note_end(struct connection *c, struct sock *sk, int state)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	c->ended = bpf_ktime_get_ns();
	c->received = received_by(tp);
	c->sent = sent_by(tp, state);
	c->retransmits = BPF_CORE_READ(tp, total_retrans);
	c->srtt = BPF_CORE_READ(tp, srtt_us);
	switch (state) {
	case TCP_LAST_ACK:
		c->end = CLIENT_CLOSED_FIRST;
		break;
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
	case TCP_CLOSING:
	case TCP_TIME_WAIT:
		c->end = SERVER_CLOSED_FIRST;
		break;
	default:
		c->end = ABORTED;
	}
}

static __always_inline void accepted(struct file *file, int listen_fd, int fd)
{
	struct connection c = {};
	struct accepted_socket found;
	struct sock *sk;
	int refused;
	__u64 key;

	if (!wanted_socket(file, &found))
		return;
	sk = found.sk;
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return;
	describe_accept(&c.accept, &found, listen_fd, fd);
	c.copied_seq = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	/* Reset while it waited to be accepted. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE)
		note_end(&c, sk, TCP_CLOSE);
	key = (__u64)sk;
	refused = bpf_map_update_elem(&connections, &key, &c, BPF_NOEXIST);
	if (refused == -EEXIST) {
		__sync_fetch_and_add(&lost, 1);
		bpf_map_update_elem(&connections, &key, &c, BPF_ANY);
	} else if (refused) {
		__sync_fetch_and_add(&unplaced, 1);
	} else {
		__sync_fetch_and_add(&followed, 1);
	}
}

#include "accept_probes.h"

/* Whether the socket is still that of the connection that was accepted. */
static __always_inline bool is_of(struct sock *sk, struct connection *c)
{
	return local_port(sk) == c->accept.lport &&
	       bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport)) == c->accept.rport;
}

static __always_inline struct connection *connection_of(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *c = bpf_map_lookup_elem(&connections, &key);

	return c && is_of(sk, c) ? c : NULL;
}

static __always_inline void was_read(struct connection *c, struct sock *sk, __u64 bytes)
{
	__s32 rxcpu = BPF_CORE_READ(sk, __sk_common.skc_incoming_cpu);
	__u32 cpu = bpf_get_smp_processor_id();
	__u64 id;

	if (!c->first_read) {
		id = own_pid_tgid();
		c->first_read = bpf_ktime_get_ns();
		c->reader_pid = id >> 32;
		c->reader_tid = id;
		c->reader_cpu = cpu;
		c->reader_rxcpu = rxcpu;
		bpf_get_current_comm(c->reader_comm, sizeof(c->reader_comm));
	}
	__sync_fetch_and_add(&c->reads, 1);
	__sync_fetch_and_add(&c->read, bytes);
	if ((__s32)cpu == rxcpu)
		__sync_fetch_and_add(&c->local_reads, 1);
}

/*
 * A read is taking what was received. When the read is over it is too late to ask for the last
 * packet: the read may have sent an ACK, which sets the same time (tcp_cleanup_rbuf).
 */
static __always_inline void note_packet(struct connection *c, struct sock *sk)
{
	c->last_packet = BPF_CORE_READ((struct tcp_sock *)sk, tcp_mstamp) * 1000;
}

TYPED_TRACEPOINT(raw_taken, tcp_rcv_space_adjust, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *c = bpf_map_lookup_elem(&connections, &key);

	if (c && !c->first_read && is_of(sk, c))
		note_packet(c, sk);
	return 0;
}

TYPED_TRACEPOINT(raw_received, sock_recv_length, struct sock *sk, int length, int flags)
{
	struct connection *c;

	if (length <= 0 || flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	c = connection_of(sk);
	if (c)
		was_read(c, sk, length);
	return 0;
}

TYPED_TRACEPOINT(raw_adjusted, tcp_rcv_space_adjust, struct sock *sk)
{
	struct connection *c = connection_of(sk);
	__u32 copied;

	if (!c)
		return 0;
	if (!c->first_read)
		note_packet(c, sk);
	copied = BPF_CORE_READ((struct tcp_sock *)sk, copied_seq);
	if (copied != c->copied_seq) /* a read that only looks takes nothing */
		was_read(c, sk, copied - c->copied_seq);
	c->copied_seq = copied;
	return 0;
}

TYPED_TRACEPOINT(raw_state, inet_sock_set_state, struct sock *sk, int before, int now)
{
	struct connection *c;

	if (now != TCP_CLOSE)
		return 0;
	c = connection_of(sk);
	if (c && !c->ended)
		note_end(c, sk, before);
	return 0;
}

TYPED_TRACEPOINT(raw_destroyed, tcp_destroy_sock, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct connection *c = bpf_map_lookup_elem(&connections, &key);

	if (!c)
		return 0;
	if (!c->ended && is_of(sk, c))
		note_end(c, sk, TCP_CLOSE);
	if (!c->ended ||
	    bpf_ringbuf_output(&events, c, sizeof(*c), wakeup()))
		__sync_fetch_and_add(&lost, 1);
	bpf_map_delete_elem(&connections, &key);
	__sync_fetch_and_add(&gone, 1);
	return 0;
}
