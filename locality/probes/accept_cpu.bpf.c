/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One record for each accepted connection: on which CPU the call ran, and on which CPU the stack
 * last handled a packet of the new socket.
 */
#include "accept_record.h"

LICENSE_GPL;

static __always_inline void accepted(struct file *file, int listen_fd, int fd)
{
	struct accepted_socket found;
	struct accept_event *e;

	if (!wanted_socket(file, &found))
		return;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return;
	}
	describe_accept(e, &found, listen_fd, fd);
	bpf_ringbuf_submit(e, wakeup());
}

#include "accept_probes.h"
