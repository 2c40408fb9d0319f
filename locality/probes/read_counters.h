/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where reads are counted by who reads: a row for each thread and port, with the reads at each
 * distance between the CPU that received and the CPU that reads. User space maps the rows and
 * reads them whole; nothing is streamed.
 *
 * The port is the server's: the local one of what was accepted, and the peer's of what this
 * machine opened itself (`outgoing`), whose local ports are any.
 *
 * Which row is whose is in a hash map. A table that is full gives the row of a thread that read
 * nothing for a while to the next one that asks; what finds no row is counted in `unplaced_reads`.
 * Counts only grow: user space takes differences, and sees by the rest of a row whose it is.
 */
#ifndef LOCALITY_READ_COUNTERS_H
#define LOCALITY_READ_COUNTERS_H

#include "distance.h"
#include "filter.h"

/* The CPUs that most of a reader's remote reads were received on. */
#define READ_SOURCES 4
/* Readings for which a thread must have been idle to lose its row. */
#define READ_IDLE 3
/* Rows that are looked at for one that is idle. */
#define READ_TRIES 8

struct read_source {
	__u64 count;
	__u32 cpu;
	__u32 reserved;
};

struct read_row {
	__u64 cgroup; /* of the thread (v2), when it read first in an interval */
	__u64 bytes;
	__u64 distances[DISTANCES]; /* reads; together they are all of them */
	struct read_source sources[READ_SOURCES];
	__u32 netns;
	__u32 pid;
	__u32 tid;
	__u32 epoch;
	__u16 port;
	__u8 protocol;
	__u8 outgoing;
	__u32 index; /* of this row */
	char comm[COMM_LEN];
};

struct read_key {
	__u32 netns;
	__u32 tid;
	__u16 port;
	__u8 protocol;
	__u8 outgoing;
};

LAYOUT(read_row);

COUNTERS(read_rows, struct read_row);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct read_key);
	__type(value, __u32);
} read_row_of SEC(".maps");

CONSTANT(__u32, max_read_rows);
/* Counted on by user space at each reading. */
GLOBAL(__u32, read_epoch);
GLOBAL(__u32, used_read_rows);
GLOBAL(__u64, unplaced_reads);

static __always_inline void key_of(const struct read_row *row, struct read_key *key)
{
	key->netns = row->netns;
	key->tid = row->tid;
	key->port = row->port;
	key->protocol = row->protocol;
	key->outgoing = row->outgoing;
}

static __always_inline struct read_row *free_read_row(__u32 *index)
{
	struct read_key key;
	struct read_row *row;

	if (used_read_rows < max_read_rows) {
		*index = __sync_fetch_and_add(&used_read_rows, 1);
		return bpf_map_lookup_elem(&read_rows, index);
	}
	for (int i = 0; i < READ_TRIES; i++) {
		*index = __sync_fetch_and_add(&used_read_rows, 1) % max_read_rows;
		if (used_read_rows < max_read_rows) /* it went once around */
			used_read_rows = max_read_rows;
		row = bpf_map_lookup_elem(&read_rows, index);
		if (row && (__s32)(read_epoch - row->epoch) >= READ_IDLE) {
			key_of(row, &key);
			bpf_map_delete_elem(&read_row_of, &key);
			return row;
		}
	}
	return NULL;
}

/* The row of a reader; NULL, and counted, if there is no room for it. */
static __always_inline struct read_row *read_row(const struct read_key *key, __u32 pid)
{
	__u32 *known = bpf_map_lookup_elem(&read_row_of, key);
	struct read_row *row;
	__u32 index;

	if (known) {
		row = bpf_map_lookup_elem(&read_rows, known);
	} else {
		row = free_read_row(&index);
		if (!row || bpf_map_update_elem(&read_row_of, key, &index, BPF_NOEXIST)) {
			__sync_fetch_and_add(&unplaced_reads, 1);
			return NULL;
		}
		__builtin_memset(row, 0, sizeof(*row));
		row->netns = key->netns;
		row->tid = key->tid;
		row->port = key->port;
		row->protocol = key->protocol;
		row->outgoing = key->outgoing;
		row->index = index;
		row->pid = pid;
		row->epoch = read_epoch - 1;
	}
	return row;
}

/* Keeps the CPUs that occur most: a new one takes the place, and the count, of the rarest. */
static __always_inline void note_source(struct read_row *row, __u32 cpu)
{
	struct read_source *rarest = &row->sources[0];

	for (int i = 0; i < READ_SOURCES; i++) {
		struct read_source *one = &row->sources[i];

		if (one->count && one->cpu == cpu) {
			one->count++;
			return;
		}
		if (one->count < rarest->count)
			rarest = one;
	}
	rarest->cpu = cpu;
	rarest->count++;
}

/*
 * The thread of a row has read so many bytes on one CPU, which had been received on another. A read
 * of a datagram may be counted by the softirq of another CPU (udp_pairing.h), while the thread reads.
 */
static __always_inline void count_in_row(struct read_row *row, __u64 bytes, __u32 cpu, __s32 rx_cpu)
{
	__u32 distance = distance_of(cpu, rx_cpu);

	if (distance < DISTANCES) /* for the verifier */
		__sync_fetch_and_add(&row->distances[distance], 1);
	__sync_fetch_and_add(&row->bytes, bytes);
	if (rx_cpu >= 0 && (__u32)rx_cpu != cpu)
		note_source(row, rx_cpu);
}

/* This thread, whose row it is, may have taken another name, or another cgroup. */
static __always_inline void name_reader(struct read_row *row)
{
	if (row->epoch == read_epoch)
		return;
	row->epoch = read_epoch;
	row->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(row->comm, sizeof(row->comm));
}

#endif
