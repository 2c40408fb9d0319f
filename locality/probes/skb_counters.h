/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where packets are counted: nothing is streamed.
 *
 * `cells` holds one cell for each (this CPU, alloc CPU), so the whole alloc-to-consume
 * matrix is there; `rows` holds what needs no matrix, and one CPU's scratch. A CPU
 * writes only its own row and cells, with plain additions: an interrupt would have to
 * fall between the load and the store of one addition to lose a count.
 *
 * User space maps both and reads them whole. The counters only grow, except deferred
 * (taken back when the kernel had no room to defer).
 *
 * The matrix grows with the square of the CPUs: 16 MB of 1,024. Of more, user space wants
 * `few_cells` instead: only the pairs that occur, for the price of a hash table's look-up.
 */
#ifndef LOCALITY_SKB_COUNTERS_H
#define LOCALITY_SKB_COUNTERS_H

#include "skb_packet.h"

/* By direction: RX, TX. */
struct cell {
	__u64 consumed[2];  /* the last user let go of it here */
};

/* One CPU's; what it writes for each packet comes first, and no cache line is another CPU's, too. */
struct row {
	/* Scratch: the sk_buff in hand, and why its release must not be counted again. */
	__u64 handled;
	__u64 why;
	__u64 deferred_cb;   /* and how its control block began, where it was deferred */
	__u64 udp;           /* the sk_buff that UDP is letting go of; raw: the thread that does */
	/* By direction: RX, TX. Functions: what its matrix would say no more of. */
	__u64 freed_home[2];   /* its memory went back here, where it was allocated */
	__u64 delivered;       /* received, and taken by a reader here */
	__u64 delivered_home;  /* and allocated here */
	__u64 deferred[2];     /* sent from here to the alloc CPU, to be freed there */
	__u64 clones;
	__u64 merged;        /* its bytes moved into another sk_buff: not a packet of its own */
	__u64 neither;
	__u64 udp_received;  /* datagrams read here, alloc CPU not known (raw tracepoints) */
	__u64 returned[2];   /* freed here for a CPU that consumed it and sent it back */
	__u64 udp_returned;  /* those of returned[RX] that are UDP */
	__u64 unknown[2];    /* seen, but not on which CPU it was consumed, or allocated */
	__u64 not_told[2];   /* seen, but not whose they are: skb_sides.h */
	__u64 udp_not_told;  /* datagrams read here, but not known whose (raw tracepoints) */
	/* Where threads are chosen. */
	__u64 sends;         /* calls that send: of UDP and TCP, and of other sockets */
	__u64 owners_found;  /* of these, by sockets of which it was not known whose they are */
	__u64 address;       /* Scratch: skb_owners.h */
	/* Raw tracepoints: TCP's originals. */
	__u64 outlived;      /* gone before their clone, so their end was not seen */
	__u64 acked;         /* of these, seen at the ACK */
	__u64 acked_from;    /* Scratch: the last ACK's originals, by sequence number */
	__u64 acked_to;
	__u64 segment;       /* Scratch: the bare ACK that a connection is given, and */
	__u64 segment_side;  /* the side of this connection: skb_sides.h */
	/* Functions: what is known of the sk_buff that is about to go. */
	__u64 told;
	__u64 told_side;
	__u64 acked_side;
	__u64 deferred_to[2];  /* sent to here, where the flush is not seen; by other CPUs, too */
	__u64 unused[4];       /* up to a whole number of lines */
};

CONSTANT(bool, only_few_cells);

/* So many that no cache line is another CPU's, too. */
#define CELLS_OF_A_CPU ((possible_cpus + 3) & ~3u)

COUNTERS(cells, struct cell);

HASH_MAP(few_cells, __u32, struct cell);

COUNTERS(rows, struct row);

static __always_inline struct row *row_of(__u32 cpu)
{
	return bpf_map_lookup_elem(&rows, &cpu);
}

static __always_inline struct row *this_row(void)
{
	return row_of(bpf_get_smp_processor_id());
}

/* Whether it is a packet, received or sent; what is not is counted here, aside. */
static __always_inline bool is_packet(struct row *row, enum kind kind)
{
	if (kind == CLONE)
		row->clones++;
	else if (kind == NEITHER)
		row->neither++;
	return kind <= TX;
}

/* A CPU's cell for packets allocated on another; NULL if that cannot be, or there is no room. */
static __always_inline struct cell *cell_of(__u32 cpu, __u32 alloc_cpu)
{
	struct cell *cell, none = {};
	__u32 index;

	if (alloc_cpu >= possible_cpus)
		return NULL;
	if (!only_few_cells) {
		index = cpu * CELLS_OF_A_CPU + alloc_cpu;
		return bpf_map_lookup_elem(&cells, &index);
	}
	index = cpu * possible_cpus + alloc_cpu;
	cell = bpf_map_lookup_elem(&few_cells, &index);
	if (cell || bpf_map_update_elem(&few_cells, &index, &none, BPF_NOEXIST))
		return cell;
	return bpf_map_lookup_elem(&few_cells, &index);
}

/* A packet was consumed on `cpu`, which is this one. */
static __always_inline void consumed(struct row *row, __u32 cpu, enum kind kind, __u32 alloc_cpu)
{
	struct cell *cell = cell_of(cpu, alloc_cpu);

	if (cell)
		cell->consumed[kind]++;
	else
		row->unknown[kind]++;
}

/* A reader on `cpu`, which is this one, took a received packet. */
static __always_inline void delivered(struct row *row, __u32 cpu, __u32 alloc_cpu)
{
	row->delivered++;
	row->delivered_home += alloc_cpu == cpu;
}

#endif
