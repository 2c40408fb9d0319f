// SPDX-License-Identifier: GPL-2.0-only
/*
 * Chooses the socket of a TCP reuseport group for each SYN: the worker of the CPU that processes
 * it, unless more connections than a bound wait for that worker's accept(). Then it is the nearest
 * worker, by distance from this CPU, for which fewer connections wait.
 *
 * The kernel runs it in softirq, under rcu_read_lock() (reuseport_select_sock() of
 * net/core/sock_reuseport.c). It always answers SK_PASS. If it has selected no socket, the kernel
 * selects one by its hash, as without a program. So nothing is refused or dropped here, whatever
 * the tables hold: a socket that was closed has left the map by itself (bpf_sk_reuseport_detach()),
 * and selecting it fails.
 *
 * The length of a queue is sk_ack_backlog of a socket that was selected. Which one that is stands in
 * the kernel's own context (struct sk_reuseport_kern), which the program's context is the address of.
 *
 * With SYN cookies the kernel asks when the ACK comes, not at the SYN.
 */
#include "kernel_differences.h"
#include "reuseport_types.h"

/* include/uapi/linux/bpf.h */
enum {
	SK_PASS = 1,
	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
};

enum {
	/* As `Distance` of locality/machine/topology.py: same CPU, core, LLC, node; other; unknown. */
	DISTANCES = 6,
	/* Of so many workers at one distance the queue is looked at; of more, those from a random one
	 * on. Thus a run has an end, however large the group is. */
	ASKED = 4,
};

/* How many sockets the tables have room for. */
CONSTANT(__u32, capacity);

/* The workers of what a CPU receives; in `spill_order` its own is the first, the others are sorted
 * by distance. */
struct spill_route {
	__u32 bound;           /* so many connections may wait for its own worker */
	__u16 workers;         /* how many there are; 0: what it receives is hashed */
	__u16 known;           /* sockets of the group when the tables were written */
	__u16 ends[DISTANCES]; /* where the workers of each distance end in `spill_order` */
	__u16 reserved[2];
};

/* One worker in the order of a CPU. */
struct spill_choice {
	__u16 place;    /* of its socket in `spill_sockets` */
	__u16 distance; /* from the CPU */
	__u16 reserved[2];
};

/* Runs of the program on a CPU, which alone counts them. Two cache lines. */
struct spill_counts {
	__u64 kept;               /* for the CPU's own worker */
	__u64 kept_long;          /* the same, although its queue was long: no shorter one was seen */
	__u64 spilled[DISTANCES]; /* for another worker, by its distance */
	__u64 no_worker;          /* hashed: the CPU has no worker in the tables */
	__u64 closed;             /* hashed: the socket of its worker has gone */
	__u64 newcomers;          /* hashed: the group has sockets that are not in the tables */
	__u64 reserved[5];
};

/* The same by the socket that was selected. */
struct spill_worker {
	__u64 kept;
	__u64 spilled;
};

LAYOUT(spill_route);
LAYOUT(spill_choice);
LAYOUT(spill_counts);
LAYOUT(spill_worker);

#define TABLE(name, value_type)                      \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_ARRAY);    \
		__uint(map_flags, BPF_F_MMAPABLE);   \
		__uint(max_entries, 1);              \
		__type(key, __u32);                  \
		__type(value, value_type);           \
	} name SEC(".maps")

/* One for each CPU. */
TABLE(spill_routes, struct spill_route);
TABLE(spill_counters, struct spill_counts);
/* `capacity` for each CPU. */
TABLE(spill_order, struct spill_choice);
/* The same, and then one for each CPU: what sockets got that have left and whose place is used
 * again, which user space adds up there. */
TABLE(spill_workers, struct spill_worker);
/* The address of the socket in each place, as far as it was selected before; 0 else. It is for a
 * look at the queue only: reading is safe even if the socket has gone, and to be chosen, a socket
 * is selected from its map. */
TABLE(spill_seen, __u64);

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} spill_sockets SEC(".maps");

/* include/linux/filter.h: what a struct sk_reuseport_md really is */
struct sk_reuseport_kern {
	struct sock *sk;
	struct sock *selected_sk;
} __attribute__((preserve_access_index));

/* include/uapi/linux/bpf.h; nothing of it is read. A function that the verifier checks by itself
 * is given the context by the name of this type. */
struct sk_reuseport_md {
	void *data;
};

static long (*select_reuseport)(struct sk_reuseport_md *md, void *map, void *key, __u64 flags) =
	(void *)82; /* BPF_FUNC_sk_select_reuseport */

static __always_inline struct sock *selected_sock(struct sk_reuseport_md *md)
{
	return READ(md, struct sk_reuseport_kern, selected_sk);
}

/* How many connections wait for accept() at a listening socket. */
static __always_inline __u32 queue_of(struct sock *sk)
{
	return READ(sk, struct sock___reuseport, sk_ack_backlog);
}

/* Whether chance leaves this one to the hash, which also knows sockets that came later. */
static __always_inline bool left_to_newcomers(struct sk_reuseport_md *md, __u32 known)
{
	struct sock *member = READ(md, struct sk_reuseport_kern, sk);
	struct sock_reuseport *group = READ(member, struct sock___reuseport, sk_reuseport_cb);
	__u32 sockets = READ(group, struct sock_reuseport, num_socks);

	return sockets > known && bpf_get_prandom_u32() % sockets >= known;
}

static __always_inline long select(struct sk_reuseport_md *md, __u32 place)
{
	/* A place without a socket, or with one of another group, is refused. */
	return select_reuseport(md, &spill_sockets, &place, 0);
}

/* How many wait at the socket in a place; a large number if it has gone. */
static __always_inline __u32 queue_at(struct sk_reuseport_md *md, __u32 place)
{
	__u64 *seen = bpf_map_lookup_elem(&spill_seen, &place);

	if (!seen)
		return ~0U;
	if (!*seen) {
		if (select(md, place))
			return ~0U;
		*seen = (__u64)selected_sock(md);
	}
	return queue_of((struct sock *)*seen);
}

/* Select the socket in a place that was chosen by its queue; false if it has gone. */
static __always_inline bool take(struct sk_reuseport_md *md, __u32 place)
{
	__u64 *seen = bpf_map_lookup_elem(&spill_seen, &place);
	bool taken = !select(md, place);
	__u64 address = taken ? (__u64)selected_sock(md) : 0;

	if (seen && *seen != address) /* other CPUs read this cache line */
		*seen = address;
	return taken;
}

/*
 * The worker with the shortest queue of `many` that begin at `first` in `spill_order`. Of more than
 * ASKED those from `from` on are asked. The length is in the upper half, the place in the lower one.
 *
 * It is not static, so that the verifier checks it once, and not for each distance again with all
 * that may have been found before: that took it seconds.
 */
__attribute__((noinline)) __u64 shortest_queue(struct sk_reuseport_md *md, __u32 first, __u32 many,
					       __u32 from)
{
	__u64 best = ~0ULL;
	__u32 i;

	for (i = 0; i < ASKED && i < many && best >> 32; i++) {
		__u32 key = first + (from + i < many ? from + i : from + i - many), length;
		struct spill_choice *choice = bpf_map_lookup_elem(&spill_order, &key);

		if (!choice)
			continue;
		length = queue_at(md, choice->place);
		if (length < best >> 32)
			best = (__u64)length << 32 | choice->place;
	}
	return best;
}

static __always_inline void count_worker(__u32 cpu, __u32 place, bool spilled)
{
	__u32 key = cpu * capacity + place;
	struct spill_worker *worker = bpf_map_lookup_elem(&spill_workers, &key);

	if (worker && spilled)
		worker->spilled++;
	else if (worker)
		worker->kept++;
}

SEC("sk_reuseport")
int locality_spill(struct sk_reuseport_md *md)
{
	__u32 cpu = bpf_get_smp_processor_id(), first = cpu * capacity, begin = 1;
	struct spill_route *route = bpf_map_lookup_elem(&spill_routes, &cpu);
	struct spill_counts *counts = bpf_map_lookup_elem(&spill_counters, &cpu);
	struct spill_choice *choice = bpf_map_lookup_elem(&spill_order, &first);
	__u32 own, chosen, length, distance, random;
	struct sock *own_sk;

	if (!route || !counts || !choice)
		return SK_PASS;
	if (!route->workers) {
		counts->no_worker++;
		return SK_PASS;
	}
	if (left_to_newcomers(md, route->known)) {
		counts->newcomers++;
		return SK_PASS;
	}
	own = choice->place;
	if (!take(md, own)) {
		counts->closed++;
		return SK_PASS;
	}
	own_sk = selected_sock(md);
	length = queue_of(own_sk);
	if (length <= route->bound) {
		counts->kept++;
		count_worker(cpu, own, false);
		return SK_PASS;
	}
	chosen = own;
	random = bpf_get_prandom_u32();
	for (distance = 0; distance < DISTANCES && chosen == own; distance++) {
		__u32 end = route->ends[distance], many = end - begin;
		__u64 best;

		if (end <= begin)
			continue;
		best = shortest_queue(md, first + begin, many, many > ASKED ? random % many : 0);
		if (best >> 32 < length)
			chosen = (__u16)best;
		begin = end;
	}
	if (chosen == own || !take(md, chosen)) { /* it has gone just now */
		if (selected_sock(md) != own_sk)
			take(md, own);
		counts->kept_long++;
		count_worker(cpu, own, false);
	} else {
		if (distance && distance <= DISTANCES) /* the loop has gone one further */
			counts->spilled[distance - 1]++;
		count_worker(cpu, chosen, true);
	}
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
