/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fills a ring with records of RECORD_BYTES, as many at a run as LOOPS says: something to
 * drain. Run by BPF_PROG_TEST_RUN, attached to nothing.
 */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} events SEC(".maps");

SEC("raw_tp/sys_enter")
int flood(void *ctx)
{
	for (int i = 0; i < LOOPS; i++) {
		__u64 *record = bpf_ringbuf_reserve(&events, RECORD_BYTES, 0);

		if (!record)
			return i;
		record[0] = i;
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	return LOOPS;
}
