/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which tasks, ports and network namespaces are wanted: decided in the kernel, so that the rest
 * costs nothing more. All of them where nothing was chosen.
 */
#ifndef LOCALITY_FILTER_H
#define LOCALITY_FILTER_H

#include "kernel_differences.h"
#include "pid_namespace.h"

#define COMM_LEN 16
#define MAX_CHOICES 64

CONSTANT_ARRAY(char, only_comm, COMM_LEN);
CONSTANT(__u32, pid_count);
CONSTANT_ARRAY(__u32, only_pids, MAX_CHOICES);
CONSTANT(__u32, port_count);
CONSTANT_ARRAY(__u16, only_ports, MAX_CHOICES);
/* The inode of a network namespace. */
CONSTANT(__u32, only_netns);
/* The id of a cgroup (v2); tasks in those below it are wanted, too. */
CONSTANT(__u64, only_cgroup);

/* So deep can cgroups be nested that are looked at. */
#define MAX_CGROUP_LEVEL 32

static __always_inline bool is_only_comm(const char *comm)
{
	for (int i = 0; i < COMM_LEN; i++) {
		if (comm[i] != only_comm[i])
			return false;
		if (!comm[i])
			break;
	}
	return true;
}

/* The thread has this name, or its process has: ps and ss print the one of the main thread. */
static __always_inline bool has_only_comm(void)
{
	struct task_struct *task, *leader;
	char comm[COMM_LEN] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	if (is_only_comm(comm))
		return true;
	task = (struct task_struct *)bpf_get_current_task();
	leader = BPF_CORE_READ(task, group_leader);
	if (leader == task)
		return false;
	BPF_CORE_READ_INTO(&comm, leader, comm);
	return is_only_comm(comm);
}

/*
 * User space may be in a cgroup namespace, and then cannot know at which level the cgroup is. So
 * all levels are looked at, up from the task's.
 */
static __always_inline bool in_only_cgroup(struct task_struct *task, bool loads)
{
	struct css_set *set = FIELD(task, cgroups);
	struct cgroup *cgroup = FIELD(set, dfl_cgrp);

	for (int level = 0; level < MAX_CGROUP_LEVEL && cgroup; level++) {
		struct kernfs_node *node = FIELD(cgroup, kn);
		struct cgroup_subsys_state *parent = FIELD(cgroup, self.parent);

		if (FIELD(node, id) == only_cgroup)
			return true;
		cgroup = parent ? FIELD(parent, cgroup) : NULL;
	}
	return false;
}

#ifndef LOCALITY_BCC

#define BYTES_OF_1 0x0101010101010101ull
#define BYTES_OF_128 0x8080808080808080ull

/* By loads, eight bytes at a time: behind the end of a name can be the rest of a longer one. */
static __always_inline bool has_only_name(struct task_struct *task)
{
	for (int at = 0; at < COMM_LEN; at += 8) {
		__u64 only = *(const volatile __u64 *)(only_comm + at);
		/* The lowest bit that is set is in the byte that ends the name. */
		__u64 end = (only - BYTES_OF_1) & ~only & BYTES_OF_128;
		__u64 name = *(__u64 *)((void *)task + at +
					bpf_core_field_offset(struct task_struct, comm));

		if ((name ^ only) & (end ^ (end - 1)))
			return false;
		if (end)
			break;
	}
	return true;
}

#endif

/* As the two above; without helper calls where the kernel lets the task's fields be loaded. */
static __always_inline bool is_wanted_task(void)
{
#ifndef LOCALITY_BCC
	if (HAS_TASK_BTF) {
		struct task_struct *task = bpf_get_current_task_btf();

		if (only_comm[0] && !has_only_name(task) && !has_only_name(task->group_leader))
			return false;
		return !only_cgroup || in_only_cgroup(task, true);
	}
#endif
	if (only_comm[0] && !has_only_comm())
		return false;
	return !only_cgroup || in_only_cgroup((void *)bpf_get_current_task(), false);
}

static __always_inline bool wanted_task(void)
{
	if (pid_count) {
		__u32 pid = own_pid_tgid() >> 32;
		bool found = false;

		for (__u32 i = 0; i < MAX_CHOICES && i < pid_count; i++)
			found |= only_pids[i] == pid;
		if (!found)
			return false;
	}

	return (!only_comm[0] && !only_cgroup) || is_wanted_task();
}

static __always_inline __u32 netns_number(struct sock *sk)
{
	struct net *net = READ(sk, struct sock, __sk_common.skc_net.net);

	return READ(net, struct net, ns.inum);
}

static __always_inline bool wanted_netns(struct sock *sk)
{
	return !only_netns || netns_number(sk) == only_netns;
}

static __always_inline bool wanted_port(__u16 port)
{
	if (!port_count)
		return true;
	for (__u32 i = 0; i < MAX_CHOICES && i < port_count; i++) {
		if (only_ports[i] == port)
			return true;
	}
	return false;
}

#endif
