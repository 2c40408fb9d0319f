// SPDX-License-Identifier: GPL-2.0-only
/*
 * What CPUs interrupt each other for: calls of functions on other CPUs, by function, and
 * reschedulings.
 *
 *   csd_queue_cpu  a function is to be called on another CPU (raw tracepoint, 6.4). Not each call
 *                  sends an interrupt: none does if another one waits there already, or if the CPU
 *                  is idle and looks by itself.
 *   ipi_send_cpu   an interrupt is sent (6.4). One without a callback asks for rescheduling.
 *
 * The kernel itself tells the name of a function, when it is seen first: no address leaves it.
 */
#include "dialect.h"

LICENSE_GPL;

#define FUNCTIONS_BITS 6
#define FUNCTIONS (1 << FUNCTIONS_BITS)
/* Places that are looked at for a function. */
#define TRIES 8
/* Behind the functions: those without a place, and reschedulings. */
#define OTHER FUNCTIONS
#define RESCHEDULING (FUNCTIONS + 1)

struct cross_cpu_call {
	__u64 function; /* only to tell it from others */
	__u64 count;
	char name[48];
};

LAYOUT(cross_cpu_call);

/* User space gives it the places above. */
COUNTERS(cross_cpu_calls, struct cross_cpu_call);

static const char name_format[] = "%ps";

static __always_inline struct cross_cpu_call *call_at(__u32 place)
{
	return bpf_map_lookup_elem(&cross_cpu_calls, &place);
}

static __always_inline struct cross_cpu_call *call_of(__u64 function)
{
	__u32 first = function * 0x9e3779b97f4a7c15ULL >> (64 - FUNCTIONS_BITS);

	for (__u32 i = 0; i < TRIES; i++) {
		struct cross_cpu_call *call = call_at((first + i) % FUNCTIONS);

		if (!call)
			break;
		if (call->function == function)
			return call;
		if (call->function || __sync_val_compare_and_swap(&call->function, 0, function))
			continue;
		bpf_snprintf(call->name, sizeof(call->name), name_format, &function,
			     sizeof(function));
		return call;
	}
	return call_at(OTHER);
}

static __always_inline void count(struct cross_cpu_call *call)
{
	if (call)
		__sync_fetch_and_add(&call->count, 1);
}

/* raw_tp and not tp_btf: the function is a number. */
RAW_TRACEPOINT(raw_queued, csd_queue_cpu, unsigned int cpu, unsigned long callsite, __u64 function)
{
	count(function ? call_of(function) : call_at(OTHER));
	return 0;
}

RAW_TRACEPOINT(raw_sent, ipi_send_cpu, unsigned int cpu, unsigned long callsite, __u64 callback)
{
	if (!callback)
		count(call_at(RESCHEDULING));
	return 0;
}
