// SPDX-License-Identifier: GPL-2.0-only
/*
 * What CPUs have each other call: the functions, by name. The tracepoint csd_queue_cpu (raw, 6.4)
 * tells of each call that is queued for another CPU. Not each sends an interrupt: none does if
 * another call waits there already, or if the CPU is idle and looks by itself.
 *
 * The kernel itself tells the name of a function, when it is seen first: no address leaves it.
 */
#include "dialect.h"

LICENSE_GPL;

#define FUNCTIONS_BITS 6
#define FUNCTIONS (1 << FUNCTIONS_BITS)
/* Places that are looked at for a function. */
#define TRIES 8
/* Behind the functions: those without a place. */
#define OTHER FUNCTIONS
#define PLACES (FUNCTIONS + 1)

struct called_function {
	__u64 address; /* only to tell it from others */
	char name[56];
};

LAYOUT(called_function);

COUNTERS(called_functions, struct called_function);
/* By CPU, and then by place: no CPU writes where another one does. */
COUNTERS(calls, __u64);

static const char name_format[] = "%ps";

static __always_inline __u32 place_of(__u64 function)
{
	__u32 first = function * 0x9e3779b97f4a7c15ULL >> (64 - FUNCTIONS_BITS);

	for (__u32 i = 0; i < TRIES; i++) {
		__u32 place = (first + i) % FUNCTIONS;
		struct called_function *called = bpf_map_lookup_elem(&called_functions, &place);

		if (!called || !function)
			break;
		if (called->address == function)
			return place;
		if (called->address || __sync_val_compare_and_swap(&called->address, 0, function))
			continue;
		bpf_snprintf(called->name, sizeof(called->name), name_format, &function,
			     sizeof(function));
		return place;
	}
	return OTHER;
}

/* raw_tp and not tp_btf: the function is a number. */
RAW_TRACEPOINT(raw_queued, csd_queue_cpu, unsigned int cpu, unsigned long callsite, __u64 function)
{
	__u32 index = bpf_get_smp_processor_id() * PLACES + place_of(function);
	__u64 *count = bpf_map_lookup_elem(&calls, &index);

	if (count)
		__sync_fetch_and_add(count, 1); /* an interrupt may come between */
	return 0;
}
