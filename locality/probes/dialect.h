/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the probes of accept and skb say what their compiler must be told in its own way:
 * where a program is attached, what user space sets or reads, and the maps.
 *
 * Here it is said for clang and libbpf (CO-RE). bcc_dialect.h says the same for bcc, which
 * compiles these sources on the machine that is measured; there user space has already made
 * the maps, from the definitions in the object that CO-RE was compiled to.
 */
#ifndef LOCALITY_DIALECT_H
#define LOCALITY_DIALECT_H

#ifdef LOCALITY_BCC
#include "bcc_dialect.h"
#else

#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "architecture.h"

#define LICENSE_GPL char LICENSE[] SEC("license") = "GPL"

/* Set by user space before the kernel sees the programs, which then drops dead branches. */
#define CONSTANT(type, name) const volatile type name = 0
#define CONSTANT_ARRAY(type, name, count) const volatile type name[count] = {}

/* Read, and perhaps written, by user space while the programs run. */
#define GLOBAL(type, name) type name

/* Gives the object's BTF the layout of a record, for the reader to check against. */
#define LAYOUT(type) struct type *layout_of_##type __attribute__((unused))

/* Counters that user space maps; it also says how many there are. */
#define COUNTERS(name, value_type)                   \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_ARRAY);    \
		__uint(map_flags, BPF_F_MMAPABLE);   \
		__uint(max_entries, 1);              \
		__type(key, __u32);                  \
		__type(value, value_type);           \
	} name SEC(".maps")

/* Takes no more when it is full; user space says how many it may hold. */
#define HASH_MAP(name, key_type, value_type)         \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_HASH);     \
		__uint(max_entries, 1);              \
		__type(key, key_type);               \
		__type(value, value_type);           \
	} name SEC(".maps")

/* Forgets the oldest; user space says how many it may hold. */
#define LRU_MAP(name, key_type, value_type)          \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_LRU_HASH); \
		__uint(max_entries, 1);              \
		__type(key, key_type);               \
		__type(value, value_type);           \
	} name SEC(".maps")

#define RING(name, bytes)                            \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_RINGBUF);  \
		__uint(max_entries, bytes);          \
	} name SEC(".maps")

/* A program and its arguments; it is named after its kind of probe and the function. */
#define FENTRY(function, ...) \
	SEC("fentry/" #function) int BPF_PROG(fentry_##function, ##__VA_ARGS__)
#define FEXIT(function, ...) \
	SEC("fexit/" #function) int BPF_PROG(fexit_##function, ##__VA_ARGS__)
#define KPROBE(function, ...) \
	SEC("kprobe/" #function) int BPF_KPROBE(kprobe_##function, ##__VA_ARGS__)
#define KRETPROBE(function, ...) \
	SEC("kretprobe/" #function) int BPF_KRETPROBE(kretprobe_##function, ##__VA_ARGS__)

/* A raw tracepoint may have several programs here, so each is given its name. */
#define TYPED_TRACEPOINT(program, tracepoint, ...) \
	SEC("tp_btf/" #tracepoint) int BPF_PROG(program, ##__VA_ARGS__)
#define RAW_TRACEPOINT(program, tracepoint, ...) \
	SEC("raw_tp/" #tracepoint) int BPF_PROG(program, ##__VA_ARGS__)

/* `context` is the tracepoint's record: just the fields that kernel_types.h names. */
#define TRACEPOINT(program, category, tracepoint, context) \
	SEC("tp/" #category "/" #tracepoint) int program(context)

/* The registers this task entered the kernel with. */
#define USER_REGISTERS() ((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()))

/* Where a struct pid has its number in the namespace of a level. */
#define UPID_OF(pid, level)                                                                  \
	((void *)(pid) + bpf_core_field_offset(struct pid, numbers) +                        \
	 (level) * bpf_core_type_size(struct upid))

#endif

/* A member, by a load where that is allowed (`loads`), else by a helper call. */
#define FIELD(pointer, member) (loads ? (pointer)->member : BPF_CORE_READ(pointer, member))

#endif
