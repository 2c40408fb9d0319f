/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where kernels differ, in what the probes read and call. Each difference is found by
 * asking for the field, function or argument, never by a version: distributions backport.
 *
 *   sk_buff.alloc_cpu            68822bdf76f1 "net: generalize skb freeing deferral to
 *                                per-cpu lists", 5.19, with skb_attempt_defer_free().
 *                                Before it: skb_alloc_map.h remembers where it was allocated.
 *   consume_skb's location       dd1b527831a3 "net: add location to trace_consume_skb()", 6.3.
 *                                Before it, and where kallsyms hides addresses: skb_flush.h.
 *   bpf_rdonly_cast()            a35b9af4ec2c "bpf: Add a kfunc for generic type cast", 6.2.
 *                                Before it: fields are read by bpf_probe_read_kernel().
 *   bpf_get_current_task_btf()   3ca1032ab7ab "bpf: Implement get_current_task_btf and
 *                                RET_PTR_TO_BTF_ID", 5.11. Before it: helpers read a task.
 *   bpf_loop()                   e6f2dd0f8067 "bpf: Add bpf_loop helper", 5.17, so wherever there
 *                                is alloc_cpu, without which nothing here uses it.
 *   kmem_cache_free's void *     not an argument that a typed raw tracepoint may take on 6.1
 *                                (refused there, taken on 6.18), so that program is untyped.
 *   napi_skb_cache_put()         a function of its own on 6.12, 6.18 and 7.3; inlined on 5.10
 *                                and 6.1. Where there is none: napi_consume_skb().
 *   skb_consume_udp() defers     6471658dc66c "udp: use skb_attempt_defer_free()", 6.18. Learnt
 *                                from the first datagrams read (skb_raw_tracepoints.h).
 *   a list freed in bulk         eedade12f4cb "net: kfree_skb_list use kmem_cache_free_bulk",
 *                                6.3: the fragments of a datagram. Before it: free_fragment().
 *   sock_recv_length             6e6eda44b939 "sock: add tracepoint for send recv length", 6.3.
 *                                Before it tcp_rcv_space_adjust shows TCP's reads, packet by packet.
 *   sk_data_ready (tracepoint)   40e0b0908142 "net/sock: Introduce trace_sk_data_ready()", 6.3.
 *                                Without either, UDP is counted in skb_consume_udp() alone.
 *   a datagram is queued by      the CPU that processes it, until b650bf0977d3 "udp: remove busylock
 *                                and add per NUMA queues", 6.18. Since then perhaps by another one
 *                                of the node: udp_processing_cpu.h notes before that.
 *   udp_fail_queue_rcv_skb       has the sk_buff as a third argument on 6.18; it is not read.
 *   io_uring_submit_req          2ad57931db64 "io_uring: rename trace_io_uring_submit_sqe()
 *                                tracepoint", 6.4. The old one has a second argument on 6.1,
 *                                and on 5.10 it does not name the request.
 *   io_uring_complete's result   three arguments with a pointer to the completion on 6.18,
 *                                seven with its values on 6.1.
 *   a ring's registered files    io_file_table.files on 6.1, .data.nodes on 6.18.
 *   sk_reuseport programs        2dbb9b9e6df6 "bpf: Introduce BPF_PROG_TYPE_SK_REUSEPORT", 4.19.
 *                                spill.bpf.c reads the kernel's own context with
 *                                bpf_probe_read_kernel(), which such programs have on 5.10.
 *   XDP in several buffers       3f364222d032 "net: xdp: introduce bpf_xdp_pointer utility
 *                                routine", 5.18. Before it xdp_spread.bpf.c's first program alone.
 */
#ifndef LOCALITY_KERNEL_DIFFERENCES_H
#define LOCALITY_KERNEL_DIFFERENCES_H

#include "dialect.h"

#ifndef LOCALITY_BCC
#define HAS_TASK_BTF bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)
#endif

/* Whether an sk_buff has the field alloc_cpu, and what it says: by a load, or a helper call. */
#ifndef LOCALITY_BCC
#define HAS_ALLOC_CPU bpf_core_field_exists(((struct sk_buff *)0)->alloc_cpu)
#define ALLOC_CPU(skb, loads)                              \
	(loads ? BPF_CORE_READ_BITFIELD(skb, alloc_cpu)    \
	       : BPF_CORE_READ_BITFIELD_PROBED(skb, alloc_cpu))
#elif HAS_sk_buff_alloc_cpu
#define HAS_ALLOC_CPU 1
#define ALLOC_CPU(skb, loads) ((skb)->alloc_cpu)
#else
#define HAS_ALLOC_CPU 0
#define ALLOC_CPU(skb, loads) 0
#endif

/*
 * An object that uses these is compiled a second time, WITHOUT_CAST, for kernels that do not have the
 * function: even a weak reference has libbpf (before 1.5) ask for CAP_SYS_ADMIN there.
 */
#if defined(WITHOUT_CAST) || defined(LOCALITY_BCC)
#define can_cast false
#define typed(memory, type) ((type *)(memory))
#else
#define can_cast true
extern void *bpf_rdonly_cast(const void *memory, __u32 type) __ksym __weak;

/* `memory` as a pointer the verifier lets us load from; only where can_cast. */
#define typed(memory, type) ((type *)bpf_rdonly_cast(memory, bpf_core_type_id_kernel(type)))
#endif

/* A member of a struct at an address: a load where can_cast, else a helper call. */
#define READ(address, type, member)                                  \
	(can_cast ? typed(address, type)->member                     \
		  : BPF_CORE_READ((type *)(address), member))

#endif
