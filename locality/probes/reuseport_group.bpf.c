// SPDX-License-Identifier: GPL-2.0-only
/*
 * Read the reuseport group of one of our own sockets: size, order, program. Later, see whether
 * the sockets of groups that were read are what they were.
 *
 * No socket option, /proc file or netlink message tells the order of a group or the
 * program attached to it. These programs are run in the process that asks, and are
 * attached to nothing. The first one walks from the descriptor in `target_fd` to the group and
 * leaves what it found in global variables.
 *
 * All reads are probe reads of live memory: a group that changes in these microseconds
 * can be seen half changed. It is read before a decision a person makes, and the kernel
 * checks every index a program returns.
 */
#include "reuseport_member.h"

/* One run reads this many sockets from `first`. */
#define SLICE 64
/*
 * A function that the verifier follows on its own, once, and not at every call; what it is given are
 * numbers. Since 51c39bb1d5d1 "bpf: Introduce function-by-function verification", 5.6.
 */
#define VERIFIED_ONCE __attribute__((noinline))
#define MAX_INSTRUCTIONS 4096

/* Set by the reader. */
__u32 target_fd;
__u32 first;

__u32 num_socks;
__u64 inodes[SLICE];
/* SO_COOKIE of each; 0 where nobody asked for it yet. */
__u64 cookies[SLICE];
__s32 incoming_cpus[SLICE];
struct member_state states[SLICE];
/* Connections that wait for accept(), and how many may; -1 where nothing is accepted. */
__s64 backlogs[SLICE];
__s64 backlog_limits[SLICE];
__u32 attached;
__u32 num_instructions;
__u64 instructions[MAX_INSTRUCTIONS];
/* Of an eBPF program: its id and name. */
__u32 program_id;
char program_name[16];

/* The socket that is in the group: of an MPTCP listener, the TCP one behind it. */
static struct sock *member_of(struct sock *sk)
{
	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_MPTCP &&
	    bpf_core_type_exists(struct mptcp_sock))
		return BPF_CORE_READ((struct mptcp_sock *)sk, first);
	return sk;
}

static struct sock *target_sock(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;

	if (target_fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &files[target_fd]);
	socket = BPF_CORE_READ(file, private_data);
	/* private_data means a socket only in a socket's file; the socket points back. */
	if (BPF_CORE_READ(socket, file) != file)
		return NULL;
	return member_of(BPF_CORE_READ(socket, sk));
}

static void read_program(struct bpf_prog *prog)
{
	/* NULL for an eBPF program: only a classic one keeps what it was made from. */
	struct sock_fprog_kern *classic = BPF_CORE_READ(prog, orig_prog);
	struct sock_filter *filter = BPF_CORE_READ(classic, filter);
	__u32 count = BPF_CORE_READ(classic, len);

	attached = 1;
	if (!classic) {
		program_id = BPF_CORE_READ(prog, aux, id);
		BPF_CORE_READ_INTO(&program_name, prog, aux, name);
	}
	if (classic && count <= MAX_INSTRUCTIONS &&
	    !bpf_probe_read_kernel(instructions, count * sizeof(instructions[0]), filter))
		num_instructions = count;
}

/* Read the socket at place `first` + i of a group. */
VERIFIED_ONCE int read_member(__u64 group, __u32 i)
{
	struct sock_reuseport *of = (void *)group;
	struct sock___reuseport *member = NULL;
	struct socket_alloc *owner;
	bool listening;

	if (i >= SLICE)
		return 1;
	bpf_probe_read_kernel(&member, sizeof(member), &of->socks[first + i]);
	owner = (void *)BPF_CORE_READ((struct sock *)member, sk_socket);
	inodes[i] = owner ? BPF_CORE_READ(owner, vfs_inode.i_ino) : 0;
	cookies[i] = BPF_CORE_READ(member, __sk_common.skc_cookie.counter);
	incoming_cpus[i] = BPF_CORE_READ((struct sock *)member, __sk_common.skc_incoming_cpu);
	read_state(&states[i], (struct sock *)member, first + i);
	listening = BPF_CORE_READ(member, __sk_common.skc_state) == TCP_LISTEN;
	backlogs[i] = listening ? BPF_CORE_READ(member, sk_ack_backlog) : -1LL;
	backlog_limits[i] = listening ? BPF_CORE_READ(member, sk_max_ack_backlog) : -1LL;
	return 0;
}

SEC("raw_tp/sys_enter")
int read_group(void *ctx)
{
	struct sock___reuseport *sk = (void *)target_sock();
	struct sock_reuseport *group;
	struct bpf_prog *prog;

	(void)ctx;
	/* What the run before has left. */
	num_socks = attached = num_instructions = program_id = 0;
	if (!sk)
		return 1;
	group = BPF_CORE_READ(sk, sk_reuseport_cb);
	if (!group)
		return 0;
	num_socks = BPF_CORE_READ(group, num_socks);
	for (__u32 i = 0; i < SLICE && first + i < num_socks; i++)
		read_member((__u64)group, i);
	prog = BPF_CORE_READ(group, prog);
	if (prog)
		read_program(prog);
	return 0;
}

/* Of groups that were read: what was read, as many of them as user space says. */
struct member_state expected[SLICE];
__u32 num_expected;

VERIFIED_ONCE int has_changed(__u32 i)
{
	struct member_state *was, now = {};

	if (i >= SLICE)
		return 0;
	was = &expected[i];
	read_state(&now, (struct sock *)was->sk, was->index);
	return now.sk != was->sk || now.inode != was->inode || now.group != was->group ||
	       now.num_socks != was->num_socks || now.prog != was->prog ||
	       now.filter != was->filter || now.watchers != was->watchers;
}

SEC("raw_tp/sys_enter")
int count_changed(void *ctx)
{
	__u32 changed = 0;

	(void)ctx;
	for (__u32 i = 0; i < SLICE && i < num_expected; i++)
		changed += has_changed(i);
	return changed;
}

char LICENSE[] SEC("license") = "GPL";
