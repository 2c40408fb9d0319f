/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which CPUs allocated and processed the datagram that was just read, where the read itself shows
 * no sk_buff (tracepoints).
 *
 * A UDP queue is first in, first out, so the datagram at its head is the one that the next
 * read takes. Each row remembers the head, by address and CPUs:
 *   sk_data_ready      if the queue was empty: what has come is the head
 *   sock_recv_length   the head has been read; what is the head now is remembered
 * The queue has two parts (udp_recvmsg moves one to the other in one go): what readers take
 * from, reader_queue, and behind it what senders add to, sk_receive_queue.
 *
 * A reader that spins can take a datagram before sk_data_ready has told of it. It leaves word
 * in `early`, and the sk_data_ready that follows answers with its own CPU: the one that put
 * the datagram into the queue. That is the alloc CPU too, as long as no packet of this machine is
 * handed on to another CPU; where some are, the alloc CPU is not known.
 *
 * Where two threads read one socket at once, the remembered head may still be there after a
 * read: it was not what this thread took, and the CPU of that one is not known. It is counted
 * as such and never guessed.
 */
#ifndef LOCALITY_UDP_PAIRING_H
#define LOCALITY_UDP_PAIRING_H

#include "udp_flows.h"

/* The CPUs of a datagram that was read; UNKNOWN_CPU if not known. */
struct cpus {
	__u32 alloc;
	__u32 rx;         /* that processed it */
	bool told_later;  /* sk_data_ready will tell both: see `early` */
	__s64 stamp;      /* when it was received, by CLOCK_REALTIME; 0 if not known */
};

/* One more than the interval in which a packet was last handed on to another CPU; 0 for never. */
__u32 handed_on;

static __always_inline struct sk_buff_head *part(struct sock *sk, __u32 offset)
{
	return (void *)sk + offset;
}

#define READERS_PART(sk) part(sk, bpf_core_field_offset(struct udp_sock, reader_queue))
#define SENDERS_PART(sk) part(sk, bpf_core_field_offset(struct sock___receiver, sk_receive_queue))

static __always_inline struct sk_buff *first_of(struct sk_buff_head *queue)
{
	struct sk_buff *first = READ(queue, struct sk_buff_head, next);

	return (void *)first == (void *)queue ? NULL : first;
}

/* The datagram that the next read will take, or NULL. */
static __always_inline struct sk_buff *head_of_queue(struct sock *sk)
{
	struct sk_buff *first = first_of(READERS_PART(sk));

	return first ? first : first_of(SENDERS_PART(sk));
}

static __always_inline void gauge(struct udp_socket *row, struct sock *sk, __u32 in_hand,
				  __u32 now)
{
	struct socket_counts *counts = &row->counts[HALF(now)];
	__u32 queued = READ(READERS_PART(sk), struct sk_buff_head, qlen) +
		       READ(SENDERS_PART(sk), struct sk_buff_head, qlen);

	row->queued = queued;
	row->queued_bytes = READ(sk, struct sock___receiver, sk_backlog.rmem_alloc.counter);
	row->rcvbuf = READ(sk, struct sock___receiver, sk_rcvbuf);
	if (queued + in_hand > counts->peak)
		counts->peak = queued + in_hand;
}

static __always_inline __u32 alloc_cpu_of(struct sk_buff *skb)
{
	struct sk_buff___datagram *datagram = (void *)skb;

	if (!bpf_core_field_exists(datagram->alloc_cpu))
		return UNKNOWN_CPU;
	return READ(skb, struct sk_buff___datagram, alloc_cpu);
}

static __always_inline void remember_head(struct udp_socket *row, struct sk_buff *head,
					  __u32 now)
{
	bool is_new = row->next != (__u64)head;

	row->next_cpu = alloc_cpu_of(head);
	row->next_rx_cpu = UNKNOWN_CPU;
	if (counts_times)
		row->next_stamp = READ(head, struct sk_buff___datagram, tstamp);
	__sync_lock_test_and_set(&row->next, (__u64)head);
	row->next_rx_cpu = processing_cpu_of(READ_BACK(row->next));
	if (is_new)
		sample(row, head, now);
}

/* A reader that was early: its row and its CPU, as one word that is not 0. */
static __always_inline __u64 early_reader(__u32 row)
{
	return ((__u64)bpf_get_smp_processor_id() << 32) | (row + 1);
}

#define CPU_OF(early) ((__u32)((early) >> 32))

/* Who was early, or NULL if nobody was. */
static __always_inline struct udp_reader *who_was_early(struct udp_socket *row, __u64 early)
{
	__u32 index = (__u32)early - 1;
	struct udp_reader *reader;

	if (!early)
		return NULL;
	reader = bpf_map_lookup_elem(&readers, &index);
	if (reader && reader->inode == row->inode)
		return reader;
	/* Its row has a new owner. */
	lose_read();
	return NULL;
}

/* Another reader waits for an answer now, or nobody: the one before will get none. */
static __always_inline void await_answer(struct udp_socket *row, __u64 early)
{
	__u64 before = __sync_lock_test_and_set(&row->early, early);
	struct udp_reader *reader = who_was_early(row, before);

	if (reader)
		tell_read(row, reader, CPU_OF(before), UNKNOWN_CPU, 0);
}

/*
 * A datagram of this socket was read: its CPUs. `early` is for the answer that sk_data_ready may
 * give later, 0 for nobody.
 */
static __always_inline struct cpus take_head(struct udp_socket *row, struct sock *sk, __u64 early,
					     __u32 now)
{
	struct sk_buff *head = head_of_queue(sk);
	struct cpus cpus = {
		.alloc = row->next_cpu,
		.rx = row->next_rx_cpu,
		.stamp = row->next_stamp,
	};
	__u64 taken = row->next;

	if (!taken || taken == (__u64)head) {
		cpus.alloc = cpus.rx = UNKNOWN_CPU;
		cpus.stamp = 0;
	}
	if (!taken) {
		cpus.told_later = early;
		await_answer(row, early);
	}
	if (!head) {
		__sync_lock_test_and_set(&row->next, 0);
		/* What comes from now on finds the row without a head; what came just before
		   may not have. */
		head = head_of_queue(sk);
	}
	if (head)
		remember_head(row, head, now);
	return cpus;
}

static __always_inline void answer_early(struct udp_socket *row, __u32 now)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u64 early = __sync_lock_test_and_set(&row->early, 0);
	struct udp_reader *reader = who_was_early(row, early);
	struct reader_counts *counts;

	if (!reader)
		return;
	/* What was read early was read elsewhere: on this CPU, it is not the one we tell of. */
	if (CPU_OF(early) == cpu) {
		tell_read(row, reader, cpu, UNKNOWN_CPU, 0);
		return;
	}
	counts = &reader->counts[HALF(now)];
	__sync_fetch_and_add(&counts->rx_known, 1);
	if (!handed_on || idle(handed_on - 1, now)) {
		__sync_fetch_and_add(&counts->known, 1);
		count_cell(CPU_OF(early), cpu, now);
	}
	tell_read(row, reader, CPU_OF(early), cpu, 0);
}

/* Datagrams have come into the queue. */
static __always_inline void arrived(struct udp_socket *row, struct sock *sk, __u32 now)
{
	struct sk_buff *head;

	gauge(row, sk, 0, now);
	if (row->next)
		return;
	answer_early(row, now);
	head = head_of_queue(sk);
	if (head)
		remember_head(row, head, now);
}

#endif
