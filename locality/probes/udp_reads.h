/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What others than `locality udp` want to know of each read: a record of its own
 * (`stream_reads`), or a count in the row of its reader (`counts_rows`), perhaps with the time that
 * the datagram waited (`counts_times`).
 *
 * Where neither is set the kernel drops what follows from the programs.
 */
#ifndef LOCALITY_UDP_READS_H
#define LOCALITY_UDP_READS_H

#include "udp_counters.h"
#include "read_times.h"
#include "udp_processing_cpu.h"

struct read_event {
	__u64 inode;
	__u32 netns;
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__s32 rxcpu; /* -1: not known */
	__u16 lport;
	__u8 pad[2];
};

LAYOUT(read_event);

CONSTANT(bool, stream_reads);
CONSTANT(bool, counts_rows);
/* Datagrams in the queue from which it is long, the one that is read included. */
CONSTANT(__u32, long_queue_datagrams);

/* The reader sleeps until this much waits for it, or until its own timer. */
CONSTANT(__u64, wakeup_bytes);

RING(reads, 4096);

/* Records the ring had no room for, or whose reader has lost its row meanwhile. */
GLOBAL(__u64, lost_reads);

static __always_inline void lose_read(void)
{
	if (stream_reads)
		__sync_fetch_and_add(&lost_reads, 1);
}

static __always_inline struct read_row *counted_row(const struct udp_socket *row,
						    const struct udp_reader *reader)
{
	/* A port that the kernel chose is a client's, whose peer is the server. */
	struct read_key key = {
		.netns = row->netns,
		.tid = reader->tid,
		.port = row->bound ? row->port : row->peer,
		.protocol = IPPROTO_UDP,
		.outgoing = !row->bound,
	};

	return read_row(&key, reader->pid);
}

/* The thread that runs has read so many bytes; `tell_read` follows, perhaps from elsewhere. */
static __always_inline void tell_bytes(const struct udp_socket *row,
				       const struct udp_reader *reader, __u64 bytes)
{
	struct read_row *counted = counts_rows ? counted_row(row, reader) : NULL;

	if (!counted)
		return;
	name_reader(counted);
	counted->bytes += bytes;
}

static __always_inline struct task_struct *own_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* It waited since `stamp`, or that is not known (0) and this thread may be another one. */
static __always_inline void tell_wait(const struct udp_socket *row, struct read_row *counted,
				      __u32 cpu, __s32 rx, __s64 stamp)
{
	struct read_moment moment = read_moment(stamp);

	leave_out_long_queue(&moment, row->inode, row->queued + 1 >= long_queue_datagrams);
	count_read_time(counted, moment.left_out == NOT_LEFT_OUT ? own_note(own_task()) : NULL,
			distance_of(cpu, rx), &moment);
}

static __always_inline void tell_read(const struct udp_socket *row,
				      const struct udp_reader *reader, __u32 cpu, __u32 rx_cpu,
				      __s64 stamp)
{
	__s32 rx = rx_cpu < possible_cpus ? (__s32)rx_cpu : -1;
	struct read_row *counted = counts_rows ? counted_row(row, reader) : NULL;
	struct read_event *event;

	if (counted)
		count_in_row(counted, 0, cpu, rx);
	if (counts_times && counted)
		tell_wait(row, counted, cpu, rx, stamp);
	if (!stream_reads)
		return;
	event = bpf_ringbuf_reserve(&reads, sizeof(*event), 0);
	if (!event) {
		lose_read();
		return;
	}
	event->inode = row->inode;
	event->netns = row->netns;
	event->pid = reader->pid;
	event->tid = reader->tid;
	event->cpu = cpu;
	event->rxcpu = rx;
	event->lport = row->port;
	event->pad[0] = event->pad[1] = 0;
	bpf_ringbuf_submit(event, bpf_ringbuf_query(&reads, BPF_RB_AVAIL_DATA) >= wakeup_bytes
					  ? BPF_RB_FORCE_WAKEUP
					  : BPF_RB_NO_WAKEUP);
}

#endif
