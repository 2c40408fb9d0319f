/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is this consume_skb the flush of a CPU's deferred list?
 *
 * The flush calls napi_consume_skb(), which fires the tracepoint consume_skb. Where the
 * tracepoint says from where it was called (commit dd1b527831a3, "net: add location to
 * trace_consume_skb()", 6.3), the flush is known by its code: the flush function itself
 * or, where the compiler inlined it, one of its callers. User space finds their
 * addresses in kallsyms; none found or no location: is_flush() is never true, and user
 * space settles the account from the deferred counters instead.
 */
#ifndef LOCALITY_SKB_FLUSH_H
#define LOCALITY_SKB_FLUSH_H

#include "dialect.h"

#define MAX_FLUSH_FUNCTIONS 16

CONSTANT(__u32, flush_functions);
CONSTANT_ARRAY(__u64, flush_begin, MAX_FLUSH_FUNCTIONS);
CONSTANT_ARRAY(__u64, flush_end, MAX_FLUSH_FUNCTIONS);

/*
 * Takes the context, not the location: where there is none, reading it would be refused.
 * volatile keeps the compiler from reading it before the verifier knows it is dead code.
 */
static __always_inline bool is_flush(const volatile unsigned long long *ctx)
{
	__u64 location;

	if (!flush_functions)
		return false;
	location = ctx[1];
	for (__u32 i = 0; i < MAX_FLUSH_FUNCTIONS && i < flush_functions; i++) {
		if (location >= flush_begin[i] && location < flush_end[i])
			return true;
	}
	return false;
}

#endif
