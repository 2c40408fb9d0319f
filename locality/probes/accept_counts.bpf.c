/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts accepted connections by the port they came to and by how far the CPU that accepts is from
 * the CPU that received, and the times that they waited in the accept queue. User space maps the
 * counters; nothing is streamed.
 *
 * A port keeps the row that it got first. Those that find the table full share the last row.
 */
#include "accept_record.h"
#include "distance.h"

LICENSE_GPL;

/* Times are counted by doublings of 2^-30 s, so that the bounds are powers of two of a second. */
#define WAIT_BUCKETS 40
/* A longer time would overflow below: 2 hours. It goes to the last bucket. */
#define LONGEST_WAIT (1ull << 42)

struct accept_row {
	__u64 distances[DISTANCES]; /* connections; together they are all of them */
	__u32 port;                 /* 0: not in use, or the row of the others */
	__u32 reserved;
};

struct accept_waits {
	__u64 counts[WAIT_BUCKETS]; /* the first: below 2^-30 s; the next ones: up to twice as much */
	__u64 sum;                  /* ns */
	__u64 unknown;              /* connections of which it is not known how long they waited */
};

LAYOUT(accept_row);
LAYOUT(accept_waits);

COUNTERS(accept_rows, struct accept_row);
COUNTERS(accept_waits, struct accept_waits);
/* Connections by the row of their port, and by RX CPU: `possible_cpus` for each row. */
COUNTERS(accept_rx_cpus, __u64);
HASH_MAP(accept_row_of, __u16, __u32);

CONSTANT(__u32, max_accept_rows);
CONSTANT(__u32, possible_cpus);
GLOBAL(__u32, used_accept_rows);

static __always_inline __u32 bits_of(__u64 number)
{
	__u32 bits = 0;

	for (int step = 32; step; step /= 2) {
		if (number >> step) {
			number >>= step;
			bits += step;
		}
	}
	return bits + (number != 0);
}

/* The row of a port: a new one if it has none, the last one if there is no more. */
static __always_inline __u32 row_of(__u16 port)
{
	__u32 *known = bpf_map_lookup_elem(&accept_row_of, &port);
	__u32 others = max_accept_rows - 1, index;
	struct accept_row *row;

	if (known)
		return *known;
	if (used_accept_rows >= others)
		return others;
	index = __sync_fetch_and_add(&used_accept_rows, 1);
	if (index >= others)
		return others;
	if (bpf_map_update_elem(&accept_row_of, &port, &index, BPF_NOEXIST)) {
		/* Another CPU was faster; the row that was taken stays empty. */
		known = bpf_map_lookup_elem(&accept_row_of, &port);
		return known ? *known : others;
	}
	row = bpf_map_lookup_elem(&accept_rows, &index);
	if (row)
		row->port = port;
	return index;
}

static __always_inline void count_wait(struct sock *sk)
{
	__u64 now = bpf_ktime_get_ns(), since = established_at(sk), wait;
	struct accept_waits *waits;
	__u32 bucket, zero = 0;

	waits = bpf_map_lookup_elem(&accept_waits, &zero);
	if (!waits)
		return;
	if (!since) {
		__sync_fetch_and_add(&waits->unknown, 1);
		return;
	}
	wait = now > since ? now - since : 0;
	/* 2^30 / 10^9 is 2^21 / 5^9. */
	bucket = wait >= LONGEST_WAIT ? WAIT_BUCKETS - 1 : bits_of((wait << 21) / 1953125);
	if (bucket >= WAIT_BUCKETS)
		bucket = WAIT_BUCKETS - 1;
	__sync_fetch_and_add(&waits->counts[bucket], 1);
	__sync_fetch_and_add(&waits->sum, wait);
}

static __always_inline void accepted(struct file *file, int listen_fd, int fd)
{
	struct accepted_socket found;
	struct accept_row *row;
	struct sock *sk;
	__u32 index, distance, cell;
	__u64 *received;
	__s32 rx_cpu;

	if (!wanted_socket(file, &found))
		return;
	sk = found.sk; /* of which, and not of `found`, the kernel knows the layout */
	rx_cpu = BPF_CORE_READ(sk, __sk_common.skc_incoming_cpu);
	index = row_of(found.port);
	row = bpf_map_lookup_elem(&accept_rows, &index);
	distance = distance_of(bpf_get_smp_processor_id(), rx_cpu);
	if (!row || distance >= DISTANCES) /* for the verifier */
		return;
	__sync_fetch_and_add(&row->distances[distance], 1);
	count_wait(sk);
	if (rx_cpu < 0 || (__u32)rx_cpu >= possible_cpus)
		return;
	cell = index * possible_cpus + rx_cpu;
	received = bpf_map_lookup_elem(&accept_rx_cpus, &cell);
	if (received)
		__sync_fetch_and_add(received, 1);
}

#include "accept_probes.h"
