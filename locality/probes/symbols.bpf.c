// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where some functions of the kernel lie: bpf_kallsyms_lookup_name() (d6aef08a872b "bpf: Add
 * bpf_kallsyms_lookup_name helper", 5.16) finds the beginning, and "%pS" of bpf_snprintf()
 * (7b15523a989b "bpf: Add a bpf_snprintf helper", 5.13) tells the length.
 *
 * The program is run once, in the process that asks. That takes 2 ms; to read /proc/kallsyms
 * takes 50, for the kernel writes all its names.
 */
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

#define MOST_NAMES 640
#define LONGEST_NAME 64
#define LONGEST_TEXT 80

/* Set by the reader; each ends with a 0. */
char names[MOST_NAMES][LONGEST_NAME];
__u32 num_names;

/* 0 where there is no such function. */
__u64 addresses[MOST_NAMES];
/* Such as "net_rx_action+0x0/0x2d0". */
char texts[MOST_NAMES][LONGEST_TEXT];

static const char format[] = "%pS";

static long find(__u32 i, void *ctx)
{
	__u64 address = 0;
	long refused;

	(void)ctx;
	if (i >= MOST_NAMES)
		return 1;
	refused = bpf_kallsyms_lookup_name(names[i], LONGEST_NAME, 0, &address);
	addresses[i] = refused ? 0 : address;
	if (addresses[i])
		bpf_snprintf(texts[i], LONGEST_TEXT, format, &address, sizeof(address));
	return 0;
}

SEC("syscall")
int find_symbols(void *ctx)
{
	(void)ctx;
	bpf_loop(num_names, find, NULL, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
