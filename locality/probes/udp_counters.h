/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where datagrams are counted: nothing is streamed.
 *
 * `sockets` has a row for each UDP socket that got or dropped a datagram, `readers` one for
 * each (socket, thread that reads it), `cells` one for each (reader's CPU, alloc CPU). User
 * space maps all of them and reads them whole. Which row is whose is in two hash maps.
 *
 * What grows is kept twice, for intervals of even and of odd number. At a reading user space
 * counts the interval's number (`epoch`) on, waits until no program runs that began before
 * (`turn`), and then has in the half of the old number what nobody changes any more: rows, cells
 * and flows of one interval, which add up. A program looks at the number once.
 *
 * A table that is full gives the row of something that was idle for a while to the next one
 * that asks; its owner is then another, which user space sees. What finds no row is counted
 * in `homeless`.
 */
#ifndef LOCALITY_UDP_COUNTERS_H
#define LOCALITY_UDP_COUNTERS_H

#include "udp_types.h"
#include "filter.h"

/* include/net/sock.h */
#define SOCK_BINDPORT_LOCK 8

/* Readings for which something must have been idle to lose its row. */
#define IDLE 3
/* Rows that are looked at for one that is idle. */
#define TRIES 4

struct socket_counts {
	__u64 drops;    /* no room in the receive buffer */
	__u64 refused;  /* no memory for UDP: net.ipv4.udp_mem */
	__u64 seen;     /* datagrams that were looked at while they waited, or were read */
	__u64 sampled;  /* of these, the ones whose flow was noted */
	__u32 peak;     /* most datagrams that waited at once, in `epoch` */
	__u32 epoch;
};

struct udp_socket {
	__u64 inode;
	__u32 netns;
	__u16 family;
	__u16 port;
	__u8 address[16];  /* network order; IPv4 in the first four bytes */
	struct socket_counts counts[2];
	__u32 queued;      /* gauges: datagrams and bytes of memory that wait */
	__u32 queued_bytes;
	__u32 rcvbuf;
	__u32 epoch;
	/* Scratch of udp_pairing.h. */
	__u32 next_cpu;
	__u32 next_rx_cpu;
	__u64 next;
	__u64 early;
	__s64 next_stamp;  /* when it was received, by CLOCK_REALTIME; see read_times.h */
	__u16 peer;        /* the port it is connected to, or 0 */
	__u8 bound;        /* its port was asked for, and not chosen by the kernel */
	__u8 unused[5];
};

struct reader_counts {
	__u64 datagrams;
	__u64 bytes;
	__u64 known;    /* of the datagrams: the alloc CPU is known */
	__u64 local;    /* of these: read there */
	__u64 rx_known; /* of the datagrams: the CPU that processed them is known */
	__u64 rx_local; /* of these: read there */
	__u64 moved;    /* both are known, and are two */
	__u64 batches;  /* recvmmsg() calls that gave datagrams */
	__u64 batched;  /* datagrams they gave */
};

struct udp_reader {
	__u64 inode;
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
	struct reader_counts counts[2];
	/* Scratch: the recvmmsg() that runs, its vector and how many it has so far. */
	__u64 vector;
	__u32 in_call;
	__u32 epoch;
	__u64 skb;      /* scratch: what was read last */
	__u64 cgroup;   /* of the thread (v2), when it read first in an interval */
};

struct reader_key {
	__u64 inode;
	__u64 tid;
};

/* CPUs this machine can have: the size of every per-CPU table. */
const volatile __u32 possible_cpus = 1;

/* The number of the interval; user space counts on at each reading. */
__u32 epoch;

static __always_inline __u32 this_interval(void)
{
	return *(volatile __u32 *)&epoch;
}

/* Half of what is counted that belongs to an interval. */
#define HALF(now) ((now) & 1)

/* Events whose socket or reader found no row. */
__u64 homeless;

/*
 * Holds nothing: user space puts `inner` into `turn`, for an update of a map of maps returns
 * when every program that ran has ended (maybe_wait_bpf_programs in kernel/bpf/syscall.c).
 */
struct nothing {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct nothing);
} turn SEC(".maps");

static __u32 used_sockets;
static __u32 used_readers;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct udp_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct udp_reader);
} readers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} cells SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u32);
} socket_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct reader_key);
	__type(value, __u32);
} reader_rows SEC(".maps");

/* User space gives both arrays and their hash maps these sizes. */
const volatile __u32 max_sockets = 4096;
const volatile __u32 max_readers = 8192;

static __always_inline bool idle(__u32 since, __u32 now)
{
	return (__s32)(now - since) >= IDLE;
}

/* Is this the first time in an interval? Not for a program that began in the one before. */
static __always_inline bool is_later(__u32 now, __u32 since)
{
	return (__s32)(now - since) > 0;
}

/* A socket's inode; 0 while it is being closed. */
static __always_inline __u64 inode_of(struct sock *sk)
{
	struct socket *socket = READ(sk, struct sock, sk_socket);

	if (!socket)
		return 0;
	return READ(socket, struct socket_alloc, vfs_inode.i_ino);
}

static __always_inline struct udp_socket *free_socket(__u32 *index, __u32 now)
{
	struct udp_socket *row;

	if (used_sockets < max_sockets) {
		*index = __sync_fetch_and_add(&used_sockets, 1);
		return bpf_map_lookup_elem(&sockets, index);
	}
	for (int i = 0; i < TRIES; i++) {
		*index = __sync_fetch_and_add(&used_sockets, 1) % max_sockets;
		if (used_sockets < max_sockets) /* it went once around */
			used_sockets = max_sockets;
		row = bpf_map_lookup_elem(&sockets, index);
		if (row && idle(row->epoch, now)) {
			bpf_map_delete_elem(&socket_rows, &row->inode);
			return row;
		}
	}
	return NULL;
}

static __always_inline void describe(struct udp_socket *row, struct sock *sk)
{
	__u16 port = BPF_CORE_READ(sk, __sk_common.skc_num);

	/* A socket that was disconnected has given its port back; what it got before still waits. */
	if (!port && row->port)
		return;
	row->netns = netns_number(sk);
	row->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	row->port = port;
	row->peer = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	row->bound = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_userlocks) & SOCK_BINDPORT_LOCK ? 1 : 0;
	if (row->family == AF_INET6)
		BPF_CORE_READ_INTO(&row->address, sk, __sk_common.skc_v6_rcv_saddr);
	else
		*(__be32 *)row->address = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
}

/* The row of a socket; a new one if it has none. */
static __always_inline struct udp_socket *socket_row(struct sock *sk, __u64 inode, __u32 now)
{
	__u32 *known = bpf_map_lookup_elem(&socket_rows, &inode);
	struct udp_socket *row;
	__u32 index;

	if (known) {
		row = bpf_map_lookup_elem(&sockets, known);
		if (row && is_later(now, row->epoch)) {
			struct socket_counts *counts = &row->counts[HALF(now)];

			row->epoch = counts->epoch = now;
			counts->peak = 0;
			describe(row, sk); /* connect() may have changed it */
		}
		return row;
	}
	row = free_socket(&index, now);
	if (row) {
		__builtin_memset(row, 0, sizeof(*row));
		row->epoch = row->counts[HALF(now)].epoch = now;
		describe(row, sk);
		row->inode = inode;
		if (bpf_map_update_elem(&socket_rows, &inode, &index, BPF_NOEXIST)) {
			/* The reader's CPU and the one that received come here at the same
			   time: the first one's row is the socket's. */
			row->inode = 0;
			known = bpf_map_lookup_elem(&socket_rows, &inode);
			row = known ? bpf_map_lookup_elem(&sockets, known) : NULL;
		}
	}
	if (!row)
		__sync_fetch_and_add(&homeless, 1);
	return row;
}

static __always_inline struct udp_reader *free_reader(__u32 *index, __u32 now)
{
	struct reader_key key = {};
	struct udp_reader *row;

	if (used_readers < max_readers) {
		*index = __sync_fetch_and_add(&used_readers, 1);
		return bpf_map_lookup_elem(&readers, index);
	}
	for (int i = 0; i < TRIES; i++) {
		*index = __sync_fetch_and_add(&used_readers, 1) % max_readers;
		if (used_readers < max_readers)
			used_readers = max_readers;
		row = bpf_map_lookup_elem(&readers, index);
		if (row && idle(row->epoch, now)) {
			key.inode = row->inode;
			key.tid = row->tid;
			bpf_map_delete_elem(&reader_rows, &key);
			return row;
		}
	}
	return NULL;
}

/* The row of this thread as a reader of a socket, and its index; a new one if it has none. */
static __always_inline struct udp_reader *reader_row(__u64 inode, __u32 *index,
							 __u32 now)
{
	__u64 id = own_pid_tgid();
	struct reader_key key = {.inode = inode, .tid = (__u32)id};
	__u32 *known = bpf_map_lookup_elem(&reader_rows, &key);
	struct udp_reader *row;

	if (known) {
		*index = *known;
		row = bpf_map_lookup_elem(&readers, index);
	} else {
		row = free_reader(index, now);
		if (!row || bpf_map_update_elem(&reader_rows, &key, index, BPF_NOEXIST)) {
			__sync_fetch_and_add(&homeless, 1);
			return NULL;
		}
		__builtin_memset(row, 0, sizeof(*row));
		row->epoch = now - 1;
		row->pid = id >> 32;
		row->tid = id;
		row->inode = inode;
	}
	/* A thread may take another name, or another cgroup. */
	if (row && is_later(now, row->epoch)) {
		row->epoch = now;
		row->cgroup = bpf_get_current_cgroup_id();
		bpf_get_current_comm(row->comm, sizeof(row->comm));
	}
	return row;
}

static __always_inline void count_cell(__u32 reader_cpu, __u32 alloc_cpu, __u32 now)
{
	__u32 index = (HALF(now) * possible_cpus + reader_cpu) * possible_cpus + alloc_cpu;
	__u64 *cell = bpf_map_lookup_elem(&cells, &index);

	if (cell)
		__sync_fetch_and_add(cell, 1);
}

#endif
