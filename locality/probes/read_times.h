/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long a packet waited for its reader, and how long the reader took to wake up: histograms
 * for each row of read_counters.h and each distance between the CPU that received and the CPU that
 * reads.
 *
 * A histogram is log-linear: each doubling of the time has eight buckets of equal width, so that a
 * time is known to 12.5 % of itself at worst. A row has few of the histograms that it could have,
 * so one is given to it when it counts first. Rows belong to threads: only one CPU at a time counts
 * in one, without atomic instructions.
 *
 * An sk_buff has its time of receipt by CLOCK_REALTIME, and programs have CLOCK_MONOTONIC. User
 * space tells the difference (`real_offset`), and looks at each reading whether the clock was set
 * meanwhile. A stamp from before that, or from the future, has no time and is counted as such.
 *
 * What is no price of distance has no time either, and is counted by its reason: see `left_out`.
 */
#ifndef LOCALITY_READ_TIMES_H
#define LOCALITY_READ_TIMES_H

#include "kernel_differences.h"
#include "read_counters.h"

/* locality/cost/histogram.py. Times below 2^6 ns and from 2^34 ns (17 s) have a bucket each. */
#define LOWEST_BIT 6
#define HIGHEST_BIT 33
#define PARTS_BITS 3
#define BUCKETS (((HIGHEST_BIT - LOWEST_BIT + 1) << PARTS_BITS) + 2)

/* locality/cost/interval.py: MEASURES. */
enum measure {
	SINCE_RECEIPT,
	WAKE_UP, /* of the reader, from sched_waking to sched_switch */
	MEASURES,
};

/* Why a read has no time. locality/cost/interval.py: LEFT_OUT. */
enum left_out {
	UNSTAMPED,       /* the packet had no stamp, or none that could be seen */
	OTHER_CLOCK,     /* the clock was set after the stamp */
	MISSING_SEGMENT, /* it may have waited for a segment that was missing */
	LONG_QUEUE,      /* it was in a queue that was long when it was read */
	NO_ROOM,         /* no histogram was left */
	REASONS,
	NOT_LEFT_OUT = REASONS,
};

struct read_histogram {
	__u32 counts[BUCKETS]; /* user space takes differences: they may wrap around */
	__u32 reserved[14];
};

struct read_times {
	__u32 histograms[MEASURES * DISTANCES]; /* one more than the index; 0 for none yet */
	__u64 left_out[REASONS * DISTANCES];
};

/*
 * Histograms and notes fill whole cache lines of 64 bytes: their neighbours are those of other
 * threads, which run on other CPUs.
 */

/* A thread that reads: which row was its last one, and when it was woken. */
struct reader_note {
	__u32 thread; /* as the kernel numbers it */
	__u32 tid;    /* as the row has it */
	__u32 row;    /* one more than the index; 0 for none. A row may get another owner. */
	__u32 reserved;
	__u64 waking;  /* it was woken then and does not run yet; 0 if that is not so */
	__u64 woken;   /* when it was woken before it ran last */
	__u64 latency; /* how long it took until it ran; 0 if a read has counted that already */
	__u64 unused[3];
};

/* A socket whose queue was long: what was received before then was in it. */
struct queue_note {
	__u64 socket;
	__u64 time;
};

LAYOUT(read_histogram);
LAYOUT(read_times);

/* User space gives the first one as many entries as there are rows. */
COUNTERS(read_times, struct read_times);
COUNTERS(read_histograms, struct read_histogram);

/*
 * Both by a number of the thread or socket. If two have the same place, the later note replaces the
 * earlier one: a wake-up is not counted, or a queue is not known to have been long.
 */
#define NOTE_BITS_OF_THREADS 14
#define NOTE_BITS_OF_SOCKETS 12

COUNTERS(reader_notes, struct reader_note);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct queue_note);
} queue_notes SEC(".maps");

CONSTANT(bool, counts_times);
CONSTANT(__u32, max_histograms);
GLOBAL(__u32, used_histograms);
/* CLOCK_REALTIME less CLOCK_MONOTONIC, in ns; and the stamp of the first packet it is right for. */
GLOBAL(__s64, real_offset);
GLOBAL(__s64, first_stamp);

/* Where no queue was long yet, none is looked for among the notes. */
static bool seen_long_queue;

/* The clocks of two CPUs differ by less than that. */
#define CLOCK_SKEW_NS 1000

/* A read that is being counted. */
struct read_moment {
	__s64 now;      /* CLOCK_MONOTONIC, ns */
	__s64 received; /* by the same clock */
	__u32 left_out;
};

/* The moment of a read of what was received at `stamp`; 0 if that is not known. */
static __always_inline struct read_moment read_moment(__s64 stamp)
{
	struct read_moment moment = {
		.now = bpf_ktime_get_ns(),
		.received = stamp - real_offset,
		.left_out = NOT_LEFT_OUT,
	};

	if (!stamp)
		moment.left_out = UNSTAMPED;
	else if (stamp < first_stamp || moment.received > moment.now + CLOCK_SKEW_NS)
		moment.left_out = OTHER_CLOCK;
	return moment;
}

/* A packet of this socket is read from a queue that is long, or from one that is not. */
static __always_inline void leave_out_long_queue(struct read_moment *moment, __u64 socket,
						 bool is_long)
{
	struct queue_note *note;
	__u32 place;

	if (is_long)
		seen_long_queue = true;
	else if (!seen_long_queue)
		return;
	place = (socket * 0x9e3779b97f4a7c15ULL) >> (64 - NOTE_BITS_OF_SOCKETS);
	note = bpf_map_lookup_elem(&queue_notes, &place);
	if (!note)
		return;
	if (is_long) {
		note->socket = socket;
		note->time = moment->now;
	} else if (note->socket != socket || moment->received > (__s64)note->time) {
		return;
	}
	if (moment->left_out == NOT_LEFT_OUT)
		moment->left_out = LONG_QUEUE;
}

/*
 * The place of the highest bit, without branches: the verifier would follow each of them. All bits
 * below it are set, and then a product's upper bits tell which number of ones it is.
 */
static const __u8 place_of_ones[64] = {
	0,  47, 1,  56, 48, 27, 2,  60, 57, 49, 41, 37, 28, 16, 3,  61,
	54, 58, 35, 52, 50, 42, 21, 44, 38, 32, 29, 23, 17, 11, 4,  62,
	46, 55, 26, 59, 40, 36, 15, 53, 34, 51, 20, 43, 31, 22, 10, 45,
	25, 39, 14, 33, 19, 30, 9,  24, 13, 18, 8,  12, 7,  6,  5,  63,
};

static __always_inline __u32 highest_bit(__u64 value)
{
	for (int distance = 1; distance < 64; distance *= 2)
		value |= value >> distance;
	return place_of_ones[value * 0x03f79d71b4cb0a89ULL >> 58];
}

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 bit;

	if (ns < 1 << LOWEST_BIT)
		return 0;
	if (ns >> (HIGHEST_BIT + 1))
		return BUCKETS - 1;
	bit = highest_bit(ns);
	return 1 + ((bit - LOWEST_BIT) << PARTS_BITS) +
	       ((ns >> (bit - PARTS_BITS)) & ((1 << PARTS_BITS) - 1));
}

/* Count a time; false if no histogram is left. */
static __always_inline bool count_time(struct read_times *times, __u32 measure, __u32 distance,
				       __u64 ns)
{
	struct read_histogram *histogram;
	__u32 index, bucket = bucket_of(ns);

	index = times->histograms[measure * DISTANCES + distance];
	if (!index) {
		if (used_histograms >= max_histograms)
			return false;
		index = __sync_fetch_and_add(&used_histograms, 1) + 1;
		times->histograms[measure * DISTANCES + distance] = index;
	}
	index--;
	histogram = bpf_map_lookup_elem(&read_histograms, &index);
	if (!histogram || bucket >= BUCKETS)
		return false;
	histogram->counts[bucket]++;
	return true;
}

static __always_inline struct reader_note *note_of_thread(__u32 thread)
{
	__u32 place = thread & ((1 << NOTE_BITS_OF_THREADS) - 1);

	return bpf_map_lookup_elem(&reader_notes, &place);
}

/* The note of this thread, whose task it is. It is told of wake-ups from now on. */
static __always_inline struct reader_note *own_note(struct task_struct *task)
{
	__u32 thread = READ(task, struct task_struct, pid);
	struct reader_note *note = note_of_thread(thread);

	if (note && note->thread != thread) {
		__builtin_memset(note, 0, sizeof(*note));
		note->thread = thread;
	}
	return note;
}

/* A wake-up before a read has the distance of the first packet that is then read. */
static __always_inline void count_wake_up(struct read_times *times, __u32 distance,
					  const struct read_moment *moment,
					  struct reader_note *note)
{
	__u64 latency = note->latency;

	if (!latency)
		return;
	note->latency = 0;
	/* What came later did not wake it. */
	if (moment->received <= (__s64)note->woken)
		count_time(times, WAKE_UP, distance, latency);
}

/*
 * A packet was read so far from the CPU that received it. The row and the note are those of this
 * thread; if the row is that of another one, something is left out.
 */
static __always_inline void count_read_time(struct read_row *row, struct reader_note *note,
					    __u32 distance, const struct read_moment *moment)
{
	__u32 index = row->index, left_out = moment->left_out;
	struct read_times *times = bpf_map_lookup_elem(&read_times, &index);
	__s64 waited = moment->now - moment->received;

	if (!times || distance >= DISTANCES)
		return;
	if (left_out == NOT_LEFT_OUT) {
		if (count_time(times, SINCE_RECEIPT, distance, waited < 0 ? 0 : waited)) {
			if (note)
				count_wake_up(times, distance, moment, note);
			return;
		}
		left_out = NO_ROOM;
	}
	if (left_out < REASONS)
		__sync_fetch_and_add(&times->left_out[left_out * DISTANCES + distance], 1);
}

#endif
