/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which tasks and ports are wanted: decided in the kernel, so that the rest costs nothing
 * more. All of them where nothing was chosen.
 */
#ifndef LOCALITY_WANTED_H
#define LOCALITY_WANTED_H

#include "dialect.h"

#define COMM_LEN 16
#define MAX_CHOICES 64

CONSTANT_ARRAY(char, only_comm, COMM_LEN);
CONSTANT(__u32, pid_count);
CONSTANT_ARRAY(__u32, only_pids, MAX_CHOICES);
CONSTANT(__u32, port_count);
CONSTANT_ARRAY(__u16, only_ports, MAX_CHOICES);

static __always_inline bool wanted_task(void)
{
	if (pid_count) {
		__u32 pid = bpf_get_current_pid_tgid() >> 32;
		bool found = false;

		for (__u32 i = 0; i < MAX_CHOICES && i < pid_count; i++)
			found |= only_pids[i] == pid;
		if (!found)
			return false;
	}

	if (only_comm[0]) {
		char comm[COMM_LEN] = {};

		bpf_get_current_comm(comm, sizeof(comm));
		for (int i = 0; i < COMM_LEN; i++) {
			if (comm[i] != only_comm[i])
				return false;
			if (!comm[i])
				break;
		}
	}
	return true;
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
