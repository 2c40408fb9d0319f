// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long the packets of TCP connections waited for their readers, by the distance between the
 * CPU that received (sk_incoming_cpu) and the CPU that reads: see read_times.h.
 *
 *   skb_copy_datagram_iovec  data of a packet is about to be copied to its reader. A packet counts
 *                            when its first byte is: a read may take a packet in parts, and several
 *                            packets at once.
 *   sched_waking             a thread is woken that reads
 *   sched_switch             it runs
 *
 * TCP merges packets that wait, and gives them the stamp of the last one (tcp_try_coalesce). So the
 * time is from the receipt of the last byte of what is one sk_buff in the queue.
 *
 * What is not seen: readers by splice(), zero-copy and sockmap, which copy nothing; kernel TLS, and
 * MPTCP, whose queue is another one.
 */
#include "tcp_reader.h"
#include "read_times.h"

LICENSE_GPL;

/* include/linux/socket.h */
#define MSG_PEEK 2

#define SACK_BLOCKS 4

/* Bytes in the queue from which it is long. */
CONSTANT(__u32, long_queue_bytes);
/* Set by user space where the kernel has bpf_task_pt_regs(). */
CONSTANT(bool, sees_calls);

static __always_inline bool before(__u32 one, __u32 other)
{
	return (__s32)(one - other) < 0;
}

/*
 * Whether these bytes waited out of order, or may have: while bytes are missing, all is left out
 * that is read. Bytes that were out of order are told by the blocks of selective acknowledgements,
 * which stay in the socket after the last hole was filled (tcp_sack_remove).
 */
static __always_inline bool missed_a_segment(struct sock *sk, __u32 seq, __u32 end)
{
	if (!READ(sk, struct tcp_sock, rcv_ooopack))
		return false;
	if (READ(sk, struct tcp_sock, out_of_order_queue.rb_node))
		return true;
#pragma unroll
	for (int i = 0; i < SACK_BLOCKS; i++) {
		__u32 first = READ(sk, struct tcp_sock, selective_acks[i].start_seq);
		__u32 behind = READ(sk, struct tcp_sock, selective_acks[i].end_seq);

		if (first != behind && before(first, end) && before(seq, behind))
			return true;
	}
	return false;
}

/* This thread only looks at what waits: it will read it again. */
static __always_inline bool only_looks(struct task_struct *task)
{
	struct pt_regs *regs;

	if (!sees_calls)
		return false;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	switch (regs->CALL_NUMBER) {
	case NR_RECVFROM:
	case NR_RECVMMSG:
		return regs->FOURTH_ARGUMENT & MSG_PEEK;
	case NR_RECVMSG:
		return regs->THIRD_ARGUMENT & MSG_PEEK;
	}
	return false;
}

/* The row of this thread, which mostly is the one that it had last. */
static __always_inline struct read_row *row_of_reader(struct sock *sk, __u16 port,
						      struct reader_note *note)
{
	struct read_key key = tcp_read_key(sk, port, note->tid);
	__u32 index = note->row - 1;
	struct read_row *row = bpf_map_lookup_elem(&read_rows, &index);
	__u64 id;

	if (row && row->tid == key.tid && row->port == key.port && row->netns == key.netns &&
	    row->protocol == key.protocol && row->outgoing == key.outgoing) {
		name_reader(row);
		return row;
	}
	id = own_pid_tgid();
	key.tid = note->tid = (__u32)id;
	row = read_row(&key, id >> 32);
	if (row) {
		name_reader(row);
		note->row = row->index + 1;
	}
	return row;
}

/* The hash of the connection's ends. Its address would do, but nobody may calculate with one. */
static __always_inline __u64 number_of(struct sock *sk)
{
	return (__u64)READ(sk, struct sock, __sk_common.skc_hash) << 16 |
	       READ(sk, struct sock, __sk_common.skc_dport);
}

TYPED_TRACEPOINT(raw_copied, skb_copy_datagram_iovec, struct sk_buff *skb, int length)
{
	struct task_struct *task = bpf_get_current_task_btf();
	void *control = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	struct sock *sk = READ(skb, struct sk_buff, sk);
	struct reader_note *note;
	struct read_moment moment;
	struct read_row *row;
	__u32 seq, queued;
	__u16 family, port;

	if (!sk || READ(sk, struct sock, sk_protocol) != IPPROTO_TCP)
		return 0;
	family = READ(sk, struct sock, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	seq = READ(control, struct tcp_skb_cb, seq);
	if (READ(sk, struct tcp_sock, copied_seq) != seq)
		return 0;
	port = bpf_ntohs(READ(sk, struct inet_sock, inet_sport));
	if (!wanted_port(port) || !wanted_netns(sk) || !wanted_task() || only_looks(task))
		return 0;
	note = own_note(task);
	row = note ? row_of_reader(sk, port, note) : NULL;
	if (!row)
		return 0;
	moment = read_moment(READ(skb, struct sk_buff, tstamp));
	if (moment.left_out == NOT_LEFT_OUT &&
	    missed_a_segment(sk, seq, READ(control, struct tcp_skb_cb, end_seq)))
		moment.left_out = MISSING_SEGMENT;
	queued = READ(sk, struct tcp_sock, rcv_nxt) - seq;
	leave_out_long_queue(&moment, number_of(sk), queued >= long_queue_bytes);
	count_read_time(row, note,
			distance_of(bpf_get_smp_processor_id(),
				    READ(sk, struct sock, __sk_common.skc_incoming_cpu)),
			&moment);
	return 0;
}

static __always_inline struct reader_note *note_of_reader(struct task_struct *task)
{
	__u32 thread = READ(task, struct task_struct, pid);
	struct reader_note *note;

	if (!thread) /* idle */
		return NULL;
	note = note_of_thread(thread);
	return note && note->thread == thread ? note : NULL;
}

TYPED_TRACEPOINT(raw_waking, sched_waking, struct task_struct *task)
{
	struct reader_note *note = note_of_reader(task);

	if (note)
		note->waking = bpf_ktime_get_ns();
	return 0;
}

/* `prev` was not woken while it ran, or did not go to sleep when it was. */
TYPED_TRACEPOINT(raw_switch, sched_switch, bool preempt, struct task_struct *prev,
		 struct task_struct *next)
{
	struct reader_note *note = note_of_reader(prev);

	if (note && note->waking)
		note->waking = 0;
	note = note_of_reader(next);
	if (!note || !note->waking)
		return 0;
	note->woken = note->waking;
	note->latency = bpf_ktime_get_ns() - note->waking;
	note->waking = 0;
	return 0;
}
