/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dialect.h for bcc, which compiles against the kernel's own headers.
 *
 * bcc rewrites only the text it is given, not what that includes, so none of bcc's own
 * language is used: the probes stay plain C. Before this header is compiled, user space has
 * made the maps; behind it, it puts a macro for each map and each variable:
 *
 *   #define cells     MAP_OF(fd)             so that &cells is what a helper takes
 *   #define pid_count VARIABLE(__u32, fd, offset)
 *
 * Kernels without BTF have neither fentry nor typed tracepoints; those programs are not
 * compiled. Which fields and functions there are, user space learns from the headers and
 * from kallsyms, and hands over as macros named HAS_...
 */
#ifndef LOCALITY_BCC_DIALECT_H
#define LOCALITY_BCC_DIALECT_H

#include <linux/fdtable.h>
#include <linux/ipv6.h>
#include <linux/nsproxy.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <net/inet_frag.h>
#include <net/sock.h>

#define SEC(name) __attribute__((section(name), used))

#define LICENSE_GPL extern char told_by_bcc
#define LAYOUT(type) extern char told_by_btf

/* In a value's place: the variables' map, whose value the verifier knows by its map. */
#define VARIABLE(type, fd, offset) (*(volatile type *)((char *)bpf_pseudo_fd(2, fd) + (offset)))
#define MAP_OF(fd) (*(char *)bpf_pseudo_fd(1, fd))

#define CONSTANT(type, name) extern char declared_by_user_space
#define CONSTANT_ARRAY(type, name, count) extern char declared_by_user_space
#define GLOBAL(type, name) extern char declared_by_user_space
#define COUNTERS(name, value_type) extern char declared_by_user_space
#define HASH_MAP(name, key_type, value_type) extern char declared_by_user_space
#define LRU_MAP(name, key_type, value_type) extern char declared_by_user_space
#define RING(name, bytes) extern char declared_by_user_space

/* bcc finds a program by its section. What is called kprobe__... it would attach unasked. */
#define PROGRAM(name) __attribute__((section(".bpf.fn.on_" #name), used)) int on_##name

#define COUNT(...) COUNT_(0, ##__VA_ARGS__, 5, 4, 3, 2, 1, 0)
#define COUNT_(none, a, b, c, d, e, count, ...) count
#define JOIN(a, b) JOIN_(a, b)
#define JOIN_(a, b) a##b

/* Registers of a function's arguments, and what a raw tracepoint hands over: x86-64 only. */
#define REGISTERS_0
#define REGISTERS_1 , (void *)ctx->di
#define REGISTERS_2 REGISTERS_1, (void *)ctx->si
#define REGISTERS_3 REGISTERS_2, (void *)ctx->dx
#define ARGUMENTS_1 , (void *)ctx[0]
#define ARGUMENTS_2 ARGUMENTS_1, (void *)ctx[1]
#define ARGUMENTS_3 ARGUMENTS_2, (void *)ctx[2]
#define RESULT_0
#define RESULT_1 , (void *)ctx->ax

#define WRAP(name, context, values, ...)                                            \
	static __always_inline int body_##name(context, ##__VA_ARGS__);             \
	PROGRAM(name)(context)                                                      \
	{                                                                           \
		return body_##name(ctx values);                                     \
	}                                                                           \
	static __always_inline int body_##name(context, ##__VA_ARGS__)

#define KPROBE(function, ...)                                                       \
	WRAP(kprobe_##function, struct pt_regs *ctx, JOIN(REGISTERS_, COUNT(__VA_ARGS__)), \
	     ##__VA_ARGS__)
#define KRETPROBE(function, ...)                                                    \
	WRAP(kretprobe_##function, struct pt_regs *ctx, JOIN(RESULT_, COUNT(__VA_ARGS__)), \
	     ##__VA_ARGS__)
#define RAW_TRACEPOINT(program, tracepoint, ...)                                    \
	WRAP(program, unsigned long long *ctx, JOIN(ARGUMENTS_, COUNT(__VA_ARGS__)), ##__VA_ARGS__)
#define TRACEPOINT(program, category, tracepoint, context) PROGRAM(program)(context)

#define NOT_COMPILED(name, ...) \
	static __attribute__((unused)) int name(unsigned long long *ctx, ##__VA_ARGS__)
#define FENTRY(function, ...) NOT_COMPILED(fentry_##function, ##__VA_ARGS__)
#define FEXIT(function, ...) NOT_COMPILED(fexit_##function, ##__VA_ARGS__)
#define TYPED_TRACEPOINT(program, tracepoint, ...) NOT_COMPILED(program, ##__VA_ARGS__)

/* Fields are where the headers say. One is read after the other, as a pointer is followed. */
#define READ_1(source, field)                                                       \
	({                                                                          \
		typeof((source)->field) read_here;                                  \
		bpf_probe_read_kernel(&read_here, sizeof(read_here), &(source)->field); \
		read_here;                                                          \
	})
#define READ_2(source, one, field) READ_1(READ_1(source, one), field)
#define READ_3(source, one, two, field) READ_1(READ_2(source, one, two), field)
#define BPF_CORE_READ(source, ...) JOIN(READ_, COUNT(__VA_ARGS__))(source, __VA_ARGS__)
#define BPF_CORE_READ_INTO(target, source, field) \
	bpf_probe_read_kernel(target, sizeof(*(target)), &(source)->field)
/* A bit field has no address: its structure is copied, which one helper call can. */
#define BPF_CORE_READ_BITFIELD_PROBED(source, field)                                \
	({                                                                          \
		typeof(*(source)) copied_here;                                      \
		bpf_probe_read_kernel(&copied_here, sizeof(copied_here), source);   \
		copied_here.field;                                                  \
	})
#define BPF_CORE_READ_BITFIELD(source, field) ((source)->field)
#define bpf_core_type_size(type) sizeof(type)
#define bpf_core_field_offset(type, field) offsetof(type, field)

/* net/mptcp/protocol.h is not among the headers: the first subflow is not known here. */
#define bpf_core_type_exists(type) 0
struct mptcp_sock {
	struct sock *first;
};

/* kernel/trace/trace.h is not, either; tracefs shows the layout. */
struct syscall_trace_exit {
	__u64 common;
	long nr;
	long ret;
};

/* What bpf_task_pt_regs() does, which only kernels with BTF have. */
#define USER_REGISTERS()                                                            \
	((struct pt_regs *)(BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), stack) + \
			    THREAD_SIZE - TOP_OF_KERNEL_STACK_PADDING) - 1)

#define UPID_OF(pid, level) (&(pid)->numbers[level])

#include "architecture.h"

#endif
