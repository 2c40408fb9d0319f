/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A record as large as an accepted connection's for each call of one system call, into a ring
 * as large, its reader woken as seldom: what `locality accept` would do if a server accepted a
 * million connections a second.
 */
#include "accept_record.h"

LICENSE_GPL;

CONSTANT(__s64, number);

RAW_TRACEPOINT(called, sys_enter, struct pt_regs *regs, long id)
{
	struct accept_event *e;
	__u64 task;

	if (id != number)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	task = bpf_get_current_pid_tgid();
	e->time = bpf_ktime_get_ns();
	e->cpu = bpf_get_smp_processor_id();
	e->rxcpu = e->cpu;
	e->pid = task >> 32;
	e->tid = task;
	e->family = 4;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wakeup_bytes
				      ? BPF_RB_FORCE_WAKEUP
				      : BPF_RB_NO_WAKEUP);
	return 0;
}
