/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * On which CPU the stack processed a datagram, so that a reader can be compared with it.
 *
 * That is the CPU on which a program of a reuseport group chooses the socket, which steering can
 * act on. It is the alloc CPU, unless the packet was handed on: by RPS and RFS, by a threaded NAPI,
 * or over loopback and veth, where the sender allocates. Nothing in an sk_buff says it, and
 * sk_incoming_cpu is kept for connected sockets only (__udp_queue_rcv_skb of net/ipv4/udp.c). So
 * it is noted by the sk_buff's address:
 *   __udp_enqueue_schedule_skb()  puts a datagram into a socket's queue: fentry. It is called for
 *                                 nothing else, and with the very sk_buff that is read. Since 6.18
 *                                 another CPU may do the rest, so its tail and what is called
 *                                 there, sk_data_ready among it, do not tell.
 *   netif_receive_skb             the tracepoint of __netif_receive_skb_core(), which RPS comes
 *                                 before: kprobe, raw tracepoints. It runs for each packet of the
 *                                 machine, so it reads no header. It sees a packet before it is
 *                                 copied for several sockets (multicast) or cut up again after
 *                                 GRO: what is known of those is, at worst, what was noted of an
 *                                 earlier packet at the address. A kprobe of the function above
 *                                 would be skipped whenever the softirq interrupts the one at a
 *                                 read: that is so for one datagram in three on an emulated CPU.
 *
 * The address determines the place of a note in an array. If two addresses have the same place, the
 * later note replaces the earlier one, whose CPU is then unknown and is counted as unknown. So a
 * note costs one store; an update of an LRU hash took 300 ns more. Notes need no removal: when a
 * datagram is read, its place has the note of this datagram or of another address.
 */
#ifndef LOCALITY_UDP_PROCESSING_CPU_H
#define LOCALITY_UDP_PROCESSING_CPU_H

#include "kernel_differences.h"

#define UNKNOWN_CPU 0xffffffff

/* 512 kB. After 65,536 other packets, a datagram that still waits has kept its note in 37 %. */
#define NOTE_BITS 16

/* An address, whose upper 16 bits are all ones, without them; and a CPU (the kernel has 8192). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << NOTE_BITS);
	__type(key, __u32);
	__type(value, __u64);
} processing_cpus SEC(".maps");

/*
 * A pointer as a number: the verifier lets nobody calculate with one whose type it knows. Where it
 * was written into a row anyway, it is read back; else a helper is asked, which takes longer.
 */
#define READ_BACK(member) (*(volatile __u64 *)&(member))

static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &pointer);
	return address;
}

static __always_inline __u64 *note_of(__u64 skb)
{
	__u32 place = (skb * 0x9e3779b97f4a7c15ULL) >> (64 - NOTE_BITS);

	return bpf_map_lookup_elem(&processing_cpus, &place);
}

static __always_inline void note_processing_cpu(__u64 skb, __u32 cpu)
{
	__u64 *note = note_of(skb);

	if (note)
		*note = skb << 16 | cpu;
}

static __always_inline __u32 processing_cpu_of(__u64 skb)
{
	__u64 *note = note_of(skb);
	__u64 noted = note ? *note : 0;

	return noted >> 16 == skb << 16 >> 16 ? (__u32)(noted & 0xffff) : UNKNOWN_CPU;
}

#endif
