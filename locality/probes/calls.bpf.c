// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which threads call accept(), recvmsg(), epoll_wait(), poll() and the like on which descriptors:
 * one record for each thread and descriptor, however often it calls.
 *
 * /proc shows only the calls that threads are blocked in. A thread that polls without blocking,
 * or always finds something to do, is never seen there; here its calls are seen as it makes them.
 *
 * Which calls matter, by their numbers, and of which processes and descriptors, user space says.
 * Of the latter two it says one bit for each remainder, and sorts out the others itself.
 *
 * poll() and select() name their descriptors in memory, of which the beginning is copied.
 */
#include "filter.h"

LICENSE_GPL;

#define MOST_CALLS 16
#define REMAINDERS 65536
#define COPIED 128 /* 16 of struct pollfd, or a mask of 1024 descriptors */

/* How a call names descriptors: locality/machine/syscalls.py. */
enum names { AS_ARGUMENT, POLL_ARRAY, SELECT_MASK };

CONSTANT(__u32, call_count);
CONSTANT_ARRAY(__u32, call_numbers, MOST_CALLS);
CONSTANT_ARRAY(__u8, call_names, MOST_CALLS);
CONSTANT_ARRAY(__u8, wanted_pids, REMAINDERS / 8);
CONSTANT_ARRAY(__u8, wanted_fds, REMAINDERS / 8);

struct call {
	__u32 pid;
	__u32 tid;
	__u32 number;
	__u32 pad;
	__u64 first;
	__u64 second;
};

struct call_event {
	__u32 pid;
	__u32 tid;
	__u32 number;
	__u32 pad;
	__u64 first;
	__u64 second;
	__u8 copied[COPIED];
};

LAYOUT(call_event);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call);
	__type(value, __u8);
} known SEC(".maps");

RING(events, 1 << 20);

GLOBAL(__u64, lost);

static __always_inline bool has(const volatile __u8 *bits, __u32 number)
{
	number &= REMAINDERS - 1;
	return bits[number >> 3] & (1 << (number & 7));
}

RAW_TRACEPOINT(calls, sys_enter, struct pt_regs *regs, long number)
{
	struct call call = {.number = number};
	__u32 names = 0, size;
	struct call_event *e;
	bool matters = false;
	const void *from;
	__u8 one = 1;
	__u64 id;

	for (__u32 i = 0; i < MOST_CALLS && i < call_count; i++) {
		if (call_numbers[i] == (__u32)number) {
			names = call_names[i];
			matters = true;
		}
	}
	/* The numbers of 32-bit programs mean other calls. */
	if (!matters || is_32bit(regs))
		return 0;
	id = own_pid_tgid();
	call.pid = id >> 32;
	call.tid = id;
	if (!call.pid || !has(wanted_pids, call.pid))
		return 0;
	call.first = BPF_CORE_READ(regs, FIRST_ARGUMENT);
	if (names == AS_ARGUMENT && !has(wanted_fds, call.first))
		return 0;
	if (names != AS_ARGUMENT)
		call.second = BPF_CORE_READ(regs, SECOND_ARGUMENT);
	if (bpf_map_update_elem(&known, &call, &one, BPF_NOEXIST))
		return 0; /* it has a record */

	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	__builtin_memcpy(e, &call, sizeof(call));
	__builtin_memset(e->copied, 0, sizeof(e->copied));
	if (names == POLL_ARRAY) {
		size = (__u32)call.second > COPIED / 8 ? COPIED : (__u32)call.second * 8;
		from = (const void *)call.first;
	} else {
		size = (__u32)call.first > COPIED * 8 ? COPIED : ((__u32)call.first + 7) / 8;
		from = (const void *)call.second;
	}
	if (names != AS_ARGUMENT && size && size <= COPIED)
		bpf_probe_read_user(e->copied, size, from);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
