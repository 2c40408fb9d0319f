/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers of tasks are those of the pid namespace that user space is in, as its /proc has them.
 * bpf_get_current_pid_tgid() has those of the initial namespace. bpf_get_ns_current_pid_tgid()
 * answers for tasks of one namespace and not for those of the namespaces below it, which that
 * /proc shows too; so the numbers are read from the task's struct pid, which has one for each.
 */
#ifndef LOCALITY_PID_NAMESPACE_H
#define LOCALITY_PID_NAMESPACE_H

#include "dialect.h"

/* Inode number of user space's pid namespace; 0 for the initial one. */
CONSTANT(__u32, own_pid_ns);

/* include/linux/pid_namespace.h: so deep they can be nested. */
#define MAX_PID_NS_LEVEL 32

/* The number of a task in user space's pid namespace; 0 if it is not to be seen there. */
static __always_inline __u32 own_number(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	for (__u32 i = 0; i < MAX_PID_NS_LEVEL + 1; i++) {
		struct upid upid = {};

		if (i > level)
			break;
		bpf_probe_read_kernel(&upid, sizeof(upid), UPID_OF(pid, i));
		if (BPF_CORE_READ(upid.ns, ns.inum) == own_pid_ns)
			return upid.nr;
	}
	return 0;
}

/* Process and thread of the current task, as user space's /proc numbers them. */
static __always_inline __u64 own_pid_tgid(void)
{
	struct task_struct *task;

	if (!own_pid_ns)
		return bpf_get_current_pid_tgid();
	task = (struct task_struct *)bpf_get_current_task();
	return (__u64)own_number(BPF_CORE_READ(task, group_leader)) << 32 | own_number(task);
}

#endif
