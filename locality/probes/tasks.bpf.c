// SPDX-License-Identifier: GPL-2.0-only
/*
 * List threads and descriptors by iterators (bpf_iter; since eaaacd23910f "bpf: Add task and
 * task/file iterator targets", 5.8). To read the same of /proc takes twenty times as long.
 *
 * Of threads: those of some processes, and the main threads of young processes. A number says what
 * a thread may run on, what program it runs and its name, so that who looks again sees whether any
 * of these has changed.
 *
 * Of descriptors: those of some sockets, and of all epoll sets and io_urings. The kernel visits a
 * table of descriptors through the main thread, and through each thread that has another one.
 */
#include "pid_namespace.h"

LICENSE_GPL;

#define REMAINDERS 65536
/* 64 CPUs each; no kernel can be built for more than 8,192. */
#define MOST_WORDS 128

CONSTANT(__u32, mask_words);

/* The processes: one bit for each remainder. User space sorts out the others itself. */
__u8 wanted_pids[REMAINDERS / 8];
/*
 * And the main threads, with a state of 0, of processes that began later than this moment of
 * CLOCK_MONOTONIC, in ns.
 */
GLOBAL(__u64, young_since);

/* The sockets: one bit for each remainder of their inodes. */
__u8 wanted_inodes[REMAINDERS / 8];

enum kind { SOCKET = 0, EPOLL = 1, IO_URING = 2 };

struct descriptor {
	__u64 inode;
	__u32 pid;
	__u32 tid;
	__u32 fd;
	__u32 kind;
};

LAYOUT(descriptor);

struct thread {
	__u32 pid;
	__u32 tid;
	__u64 state;
};

LAYOUT(thread);

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct;
struct seq_file;

struct cpumask {
	unsigned long bits[1];
};

struct task_struct___listed {
	int pid;
	int tgid;
	const struct cpumask *cpus_ptr;
	struct mm_struct *mm;
	__u64 start_time;
	char comm[16];
	struct task_struct *group_leader;
};

struct super_block {
	unsigned long s_magic;
};

struct inode___anonymous {
	struct super_block *i_sb;
	unsigned long i_ino;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct file___listed {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* include/uapi/linux/magic.h */
#define ANON_INODE_FS_MAGIC 0x09041934
#define SOCKFS_MAGIC 0x534F434B

static __always_inline bool has(const __u8 *bits, __u64 number)
{
	return bits[(number & (REMAINDERS - 1)) >> 3] & (1 << (number & 7));
}

/* Process and thread of a task, as user space's /proc numbers them. */
static __always_inline __u64 numbers_of(struct task_struct *task)
{
	struct task_struct___listed *listed = (void *)task;

	if (own_pid_ns)
		return (__u64)own_number(listed->group_leader) << 32 |
		       own_number(task);
	return (__u64)listed->tgid << 32 | listed->pid;
}

static __always_inline __u64 mix(__u64 state, __u64 word)
{
	/* The prime of FNV-1a (draft-eastlake-fnv), a word at a time. */
	return (state ^ word) * 0x100000001b3ULL;
}

static __always_inline __u64 state_of(struct task_struct___listed *task)
{
	const struct cpumask *mask = BPF_CORE_READ(task, cpus_ptr);
	__u64 state = 0xcbf29ce484222325ULL, comm[2] = {};

	for (__u32 i = 0; i < MOST_WORDS && i < mask_words; i++) {
		__u64 bits = 0;

		bpf_probe_read_kernel(&bits, sizeof(bits), &mask->bits[i]);
		state = mix(state, bits);
	}
	bpf_probe_read_kernel(comm, sizeof(comm), &task->comm);
	state = mix(mix(state, comm[0]), comm[1]);
	return mix(state, (__u64)BPF_CORE_READ(task, mm));
}

SEC("iter/task")
int list_threads(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_struct___listed *listed = (void *)task;
	struct thread thread = {};
	bool wanted;

	if (!task)
		return 0;
	thread.pid = numbers_of(task) >> 32;
	thread.tid = numbers_of(task);
	wanted = has(wanted_pids, thread.pid);
	if (!thread.pid || (!wanted && (thread.pid != thread.tid ||
					listed->start_time < young_since)))
		return 0;
	if (wanted)
		thread.state = state_of(listed);
	bpf_seq_write(ctx->meta->seq, &thread, sizeof(thread));
	return 0;
}

/* Which of the kinds that are listed a file is; -1 for another one. */
static __always_inline int kind_of(struct file___listed *file, struct inode___anonymous *inode)
{
	unsigned long magic = inode->i_sb->s_magic;
	char name[8] = {};

	if (magic == SOCKFS_MAGIC)
		return SOCKET;
	if (magic != ANON_INODE_FS_MAGIC)
		return -1;
	/* [eventpoll] or [io_uring]; no other name begins like them. */
	bpf_probe_read_kernel(name, sizeof(name), file->f_path.dentry->d_name.name);
	if (!__builtin_memcmp(name, "[eventpo", sizeof(name)))
		return EPOLL;
	if (!__builtin_memcmp(name, "[io_urin", sizeof(name)))
		return IO_URING;
	return -1;
}

SEC("iter/task_file")
int list_descriptors(struct bpf_iter__task_file *ctx)
{
	struct file___listed *file = (void *)ctx->file;
	struct task_struct *task = ctx->task;
	struct inode___anonymous *inode;
	struct descriptor found = {};
	__u64 numbers;
	int kind;

	if (!task || !file)
		return 0;
	inode = (void *)file->f_inode;
	kind = kind_of(file, inode);
	if (kind < 0)
		return 0;
	found.kind = kind;
	found.inode = inode->i_ino;
	if (kind == SOCKET && !has(wanted_inodes, found.inode))
		return 0;
	numbers = numbers_of(task);
	found.pid = numbers >> 32;
	found.tid = numbers;
	found.fd = ctx->fd;
	if (found.pid)
		bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}
