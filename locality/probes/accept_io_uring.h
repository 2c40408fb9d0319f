/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One record for each connection that io_uring accepted: programs that stand beside
 * whichever rung sees the system calls.
 *
 * An accept is one request; a multishot one stays and posts a completion for each
 * connection. What must be put together is known at different times:
 *
 *   io_uring_submit_req   the request still has the listening descriptor
 *   io_uring_task_add     something happened on the polled socket: shows the request
 *                         again. A multishot accept that was posted before tracing began
 *                         is recognised by this; a server posts it once in its life.
 *   io_uring_complete     the result, in the task that accepted, soon after. It names the
 *                         request when that is over; for what a multishot request posts
 *                         it has only the ring and user_data. Not called where the
 *                         completion queue was full: such an accept is not seen.
 *
 * The listening descriptor is -1 where it cannot be told: the request was posted before
 * tracing began, or with a registered file, or several multishot accepts of one ring have
 * one user_data and listen on different descriptors.
 *
 * A direct accept installs no descriptor: its file is found in the ring's own table, and
 * fd is -1.
 */
#ifndef LOCALITY_ACCEPT_IO_URING_H
#define LOCALITY_ACCEPT_IO_URING_H

#include "accept_record.h"
#include "kernel_differences.h"

/* include/uapi/linux/io_uring.h; REQ_F_FIXED_FILE is the flag the request came with. */
#define IORING_OP_ACCEPT 13
#define REQ_F_FIXED_FILE 1
#define IORING_FILE_INDEX_ALLOC (~0U)

/* io_uring/filetable.h: the low bits of a table's entry are flags. */
#define FILE_FLAGS 7UL

#define NO_FD (-1)

/* What each accept in flight listens on, by the request's address. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, __u64);
	__type(value, __s32);
} listen_fds SEC(".maps");

struct completion_key {
	__u64 ring;
	__u64 user_data;
};

struct posting {
	__u64 request;
	__s32 listen_fd;
	__u32 pad;
};

/* Which request posts completions with this user_data. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct completion_key);
	__type(value, struct posting);
} postings SEC(".maps");

/* Has this machine accepted by io_uring at all? Completions that need not be looked up. */
static bool any_accept;

static __always_inline int listen_fd_of(__u64 request)
{
	__s32 *known = bpf_map_lookup_elem(&listen_fds, &request);

	return known ? *known : NO_FD;
}

/* From now on completions with this ring and user_data may be this accept's. */
static __always_inline void will_post(struct io_kiocb *req, int listen_fd)
{
	/*
	 * The address alone: for a pointer that is loaded from an argument the verifier looks
	 * through all types of the kernel, whether it may be followed. That takes milliseconds.
	 */
	struct completion_key key = {(__u64)BPF_CORE_READ(req, ctx), req->cqe.user_data};
	struct posting posting = {.request = (__u64)req, .listen_fd = listen_fd};
	struct posting *other = bpf_map_lookup_elem(&postings, &key);

	/* Once two have shared it, only the end of one makes it clear again. */
	if (other && other->listen_fd != listen_fd)
		posting.listen_fd = NO_FD;
	bpf_map_update_elem(&postings, &key, &posting, BPF_ANY);
	any_accept = true;
}

static __always_inline void submitted(struct io_kiocb *req)
{
	__u64 request = (__u64)req;
	__s32 listen_fd;

	if (req->opcode != IORING_OP_ACCEPT)
		return;
	listen_fd = req->flags & REQ_F_FIXED_FILE ? NO_FD : req->cqe.fd;
	bpf_map_update_elem(&listen_fds, &request, &listen_fd, BPF_ANY);
	will_post(req, listen_fd);
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(submit_req, struct io_kiocb *req)
{
	submitted(req);
	return 0;
}

SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(submit_sqe, struct io_kiocb *req)
{
	submitted(req);
	return 0;
}

SEC("tp_btf/io_uring_task_add")
int BPF_PROG(task_add, struct io_kiocb *req)
{
	if (req->opcode == IORING_OP_ACCEPT)
		will_post(req, listen_fd_of((__u64)req));
	return 0;
}

/* The file in a slot of the ring's table of registered files. */
static __always_inline struct file *registered_file(struct io_kiocb *req, __u32 slot)
{
	struct io_ring_ctx *ring = BPF_CORE_READ(req, ctx);
	struct io_rsrc_node *node = NULL;
	unsigned long file = 0;

	if (bpf_core_field_exists(ring->file_table.files)) {
		bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(ring, file_table.files) + slot);
	} else {
		bpf_probe_read_kernel(&node, sizeof(node),
				      BPF_CORE_READ(ring, file_table.data.nodes) + slot);
		file = BPF_CORE_READ(node, file_ptr);
	}
	return (struct file *)(file & ~FILE_FLAGS);
}

/* This request, an accept, has a result. */
static __always_inline void finished(struct io_kiocb *req, int listen_fd, int result)
{
	void *command = (void *)req + bpf_core_field_offset(struct io_kiocb, cmd);
	struct file *file;
	__u32 slot;

	if (result < 0 || !wanted_caller())
		return;
	slot = READ(command, struct io_accept, file_slot);
	if (!slot)
		file = file_of(result);
	else
		file = registered_file(req, slot == IORING_FILE_INDEX_ALLOC ? (__u32)result
									    : slot - 1);
	if (file)
		accepted(file, listen_fd, slot ? NO_FD : result);
}

/* `req` is null for what a multishot request posts while it goes on. */
static __always_inline void complete(void *ring, struct io_kiocb *req, __u64 user_data, int result)
{
	struct completion_key key = {(__u64)ring, user_data};
	__u64 request = (__u64)req;
	struct posting *posting;

	if (req ? READ(req, struct io_kiocb, opcode) != IORING_OP_ACCEPT : !any_accept)
		return;
	posting = bpf_map_lookup_elem(&postings, &key);
	if (!req) {
		if (posting)
			finished((struct io_kiocb *)posting->request, posting->listen_fd, result);
		return;
	}
	finished(req, listen_fd_of(request), result);
	bpf_map_delete_elem(&listen_fds, &request);
	if (posting && posting->request == request)
		bpf_map_delete_elem(&postings, &key);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(complete_with_cqe, void *ring, void *req, struct io_uring_cqe *cqe)
{
	complete(ring, req, cqe->user_data, cqe->res);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(complete_with_values, void *ring, void *req, __u64 user_data, int res)
{
	complete(ring, req, user_data, res);
	return 0;
}

#endif
