/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts, for each UDP socket and each thread that reads it, datagrams, bytes, drops, and
 * whether the datagram was read on the CPU that allocated its sk_buff, and on the one that
 * processed it (udp_processing_cpu.h).
 *
 * sk_incoming_cpu, by which accept is measured, is kept for connected UDP sockets only
 * (__udp_queue_rcv_skb of net/ipv4/udp.c), so the sk_buff itself must be asked.
 *
 * What is hooked:
 *   skb_consume_udp()         the end of a read that took a datagram, with the sk_buff in
 *                             hand: fentry, kprobe
 *   sock_recv_length          the same without the sk_buff (raw tracepoint, 6.3), and the
 *                             only place that tells of a read that found nothing
 *   sk_data_ready             a datagram has come (6.3): what is the head of the queue, how
 *                             long is it
 *   udp_fail_queue_rcv_skb    one was dropped because the receive buffer is full
 *   __udp_enqueue_schedule_skb() or netif_receive_skb: on which CPU a datagram is processed
 * A read that only looks (MSG_PEEK) and one of the error queue count nowhere.
 *
 * recvmmsg() is recognised by the registers that the thread entered the kernel with, so that
 * no system call tracepoint, which slows all calls, is needed. One call ends when its vector
 * is full or a read finds nothing, or when the next call begins. A call that its timeout
 * ends, with the next one into the same vector, counts as one.
 */
#include "udp_pairing.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

/* include/uapi/linux/uio.h, errno.h */
#define UIO_MAXIOV 1024
#define ENOMEM 12
#define EAGAIN 11

#define MSG_PEEK 2
#define MSG_ERRQUEUE 0x2000
#define RCV_SHUTDOWN 1

/* Gives the object's BTF the layouts, for the reader to check against. */
struct udp_socket *socket_layout __attribute__((unused));
struct udp_reader *reader_layout __attribute__((unused));
struct udp_flow *flow_layout __attribute__((unused));

/* Set by user space where the kernel has bpf_task_pt_regs() and sock_recv_length. */
const volatile bool sees_batches = false;

static __always_inline bool is_wanted_socket(struct sock *sk)
{
	__u16 port;
	__u64 inode;

	/* A raw socket has a protocol too. */
	if (READ(sk, struct sock, sk_protocol) != IPPROTO_UDP ||
	    READ(sk, struct sock, sk_type) != SOCK_DGRAM)
		return false;
	if (!wanted_netns(sk))
		return false;
	port = READ(sk, struct sock, __sk_common.skc_num);
	if (port || !port_count)
		return wanted_port(port);
	/* It has given its port back (see describe); what has a row was wanted. */
	inode = inode_of(sk);
	return bpf_map_lookup_elem(&socket_rows, &inode);
}

static __always_inline void end_call(struct udp_reader *reader, __u32 now)
{
	if (!reader->in_call)
		return;
	reader->in_call = 0;
	reader->counts[HALF(now)].batches++;
}

static __always_inline void count_batch(struct udp_reader *reader, __u32 now)
{
	struct pt_regs *regs;
	__u64 vector, size;

	if (!sees_batches)
		return;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	if (BPF_CORE_READ(regs, CALL_NUMBER) != NR_RECVMMSG ||
	    !CALL_IS_RUNNING(BPF_CORE_READ, regs)) {
		end_call(reader, now);
		return;
	}
	vector = BPF_CORE_READ(regs, SECOND_ARGUMENT);
	size = BPF_CORE_READ(regs, THIRD_ARGUMENT) & 0xffffffff;
	if (vector != reader->vector)
		end_call(reader, now);
	reader->vector = vector;
	reader->counts[HALF(now)].batched++;
	reader->in_call++;
	if (reader->in_call >= size || reader->in_call >= UIO_MAXIOV)
		end_call(reader, now);
}

static __always_inline void count_read(struct udp_socket *row, struct udp_reader *reader,
				       __u64 bytes, struct cpus cpus, __u32 now)
{
	struct reader_counts *counts = &reader->counts[HALF(now)];
	__u32 cpu = bpf_get_smp_processor_id();

	counts->datagrams++;
	counts->bytes += bytes;
	count_batch(reader, now);
	tell_bytes(row, reader, bytes);
	if (!cpus.told_later)
		tell_read(row, reader, cpu, cpus.rx, cpus.stamp);
	/* arrived() adds to what is known on another CPU. */
	if (cpus.rx < possible_cpus) {
		__sync_fetch_and_add(&counts->rx_known, 1);
		counts->rx_local += cpus.rx == cpu;
	}
	if (cpus.alloc >= possible_cpus)
		return;
	__sync_fetch_and_add(&counts->known, 1);
	counts->local += cpus.alloc == cpu;
	counts->moved += cpus.rx < possible_cpus && cpus.rx != cpus.alloc;
	count_cell(cpu, cpus.alloc, now);
}

/*
 * A datagram was read, and its sk_buff is in hand. Of a peek `length` is negative, or 0 if nothing
 * was copied: then the datagram is still in the queue.
 */
static __always_inline void consumed(struct sock *sk, struct sk_buff *skb, int length)
{
	struct cpus cpus = {};
	struct udp_reader *reader;
	struct udp_socket *row;
	__u32 now = this_interval();
	__u64 inode;
	__u32 index;

	if (length < 0 || READ(skb, struct sk_buff, next) || !is_wanted_socket(sk) || !wanted_task())
		return;
	inode = inode_of(sk);
	row = inode ? socket_row(sk, inode, now) : NULL;
	reader = row ? reader_row(inode, &index, now) : NULL;
	if (!reader)
		return;
	gauge(row, sk, 1, now);
	sample(row, skb, now);
	cpus.alloc = alloc_cpu_of(skb);
	if (counts_times)
		cpus.stamp = READ(skb, struct sk_buff___datagram, tstamp);
	reader->skb = (__u64)skb;
	cpus.rx = processing_cpu_of(READ_BACK(reader->skb));
	count_read(row, reader, length, cpus, now);
}

/* The same, and the sk_buff is gone. */
static __always_inline void received(struct sock *sk, int length)
{
	struct udp_reader *reader = NULL;
	struct udp_socket *row;
	__u32 index = 0, now = this_interval();
	struct cpus cpus;
	__u64 inode;

	inode = inode_of(sk);
	row = inode ? socket_row(sk, inode, now) : NULL;
	if (!row)
		return;
	if (wanted_task())
		reader = reader_row(inode, &index, now);
	cpus = take_head(row, sk, reader ? early_reader(index) : 0, now);
	gauge(row, sk, 1, now);
	if (reader)
		count_read(row, reader, length, cpus, now);
}

/* A read found nothing: recvmmsg() returns with what it has. */
static __always_inline void found_nothing(struct sock *sk)
{
	struct reader_key key = {
		.inode = inode_of(sk),
		.tid = (__u32)own_pid_tgid(),
	};
	__u32 *index = bpf_map_lookup_elem(&reader_rows, &key);
	struct udp_reader *reader = index ? bpf_map_lookup_elem(&readers, index) : NULL;

	if (reader)
		end_call(reader, this_interval());
}

/* A read ended with this: did it take a datagram? Of a shut socket the end is 0 bytes long. */
static __always_inline bool took_one(struct sock *sk, int ret)
{
	return ret > 0 || (!ret && !(READ(sk, struct sock, sk_shutdown) & RCV_SHUTDOWN));
}

/* A read failed with a datagram in hand, which is gone: the head of the queue is another one. */
static __always_inline void lost_head(struct sock *sk)
{
	__u64 inode = inode_of(sk);
	__u32 *index = bpf_map_lookup_elem(&socket_rows, &inode);
	struct udp_socket *row = index ? bpf_map_lookup_elem(&sockets, index) : NULL;

	if (row && row->next)
		take_head(row, sk, 0, this_interval());
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(raw_recv_length, struct sock *sk, int ret, int flags)
{
	if (flags & (MSG_PEEK | MSG_ERRQUEUE) || !is_wanted_socket(sk))
		return 0;
	if (took_one(sk, ret)) {
		received(sk, ret);
		return 0;
	}
	found_nothing(sk);
	if (ret != -EAGAIN)
		lost_head(sk);
	return 0;
}

/* For the rungs that count elsewhere. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(raw_found_nothing, struct sock *sk, int ret, int flags)
{
	if (!(flags & (MSG_PEEK | MSG_ERRQUEUE)) && is_wanted_socket(sk) && !took_one(sk, ret))
		found_nothing(sk);
	return 0;
}

static __always_inline struct udp_socket *wanted_row(struct sock *sk, __u32 now)
{
	__u64 inode;

	if (!is_wanted_socket(sk))
		return NULL;
	inode = inode_of(sk);
	return inode ? socket_row(sk, inode, now) : NULL;
}

SEC("tp_btf/sk_data_ready")
int BPF_PROG(raw_data_ready, struct sock *sk)
{
	__u32 now = this_interval();
	struct udp_socket *row = wanted_row(sk, now);

	if (row)
		arrived(row, sk, now);
	return 0;
}

/* For the rungs that need no head of the queue. */
SEC("tp_btf/sk_data_ready")
int BPF_PROG(raw_depth, struct sock *sk)
{
	__u32 now = this_interval();
	struct udp_socket *row = wanted_row(sk, now);

	if (row)
		gauge(row, sk, 0, now);
	return 0;
}

/* Some kernels have a third argument, the sk_buff; it is not needed. */
SEC("tp_btf/udp_fail_queue_rcv_skb")
int BPF_PROG(raw_fail_queue, int rc, struct sock *sk)
{
	struct socket_counts *counts;
	__u32 now = this_interval();
	struct udp_socket *row = wanted_row(sk, now);

	if (!row)
		return 0;
	counts = &row->counts[HALF(now)];
	__sync_fetch_and_add(rc == -ENOMEM ? &counts->drops : &counts->refused, 1);
	gauge(row, sk, 0, now);
	return 0;
}

SEC("fentry/skb_consume_udp")
int BPF_PROG(fentry_consume_udp, struct sock *sk, struct sk_buff *skb, int length)
{
	consumed(sk, skb, length);
	return 0;
}

SEC("kprobe/skb_consume_udp")
int BPF_KPROBE(kprobe_consume_udp, struct sock *sk, struct sk_buff *skb, int length)
{
	consumed(sk, skb, length);
	return 0;
}

SEC("fentry/__udp_enqueue_schedule_skb")
int BPF_PROG(fentry_enqueue, struct sock *sk, struct sk_buff *skb)
{
	note_processing_cpu(address_of(skb), bpf_get_smp_processor_id());
	return 0;
}

/*
 * False for a TCP segment. An ACK that is processed on another CPU has that CPU send segments that
 * were allocated before, and over loopback it receives them too: that is not RPS. A packet whose
 * IP header is not in front (a VLAN tag is) may be a datagram.
 */
static __always_inline bool may_be_datagram(struct sk_buff *skb)
{
	void *ip = READ(skb, struct sk_buff, data);

	switch (bpf_ntohs(READ(skb, struct sk_buff, protocol))) {
	case ETH_P_IP:
		return READ(ip, struct iphdr, protocol) != IPPROTO_TCP;
	case ETH_P_IPV6:
		return READ(ip, struct ipv6hdr, nexthdr) != IPPROTO_TCP;
	}
	return true;
}

/* raw_tp and not tp_btf: its argument is a number, which address_of() is not needed for. */
SEC("raw_tp/netif_receive_skb")
int BPF_PROG(raw_receive, struct sk_buff *skb)
{
	__u32 cpu = bpf_get_smp_processor_id(), now = this_interval();

	note_processing_cpu((__u64)skb, cpu);
	/* Only raw-tracepoint uses handed_on, and kernels that allow it have the cast too. */
	if (can_cast && handed_on != now + 1 && alloc_cpu_of(skb) != cpu && may_be_datagram(skb))
		handed_on = now + 1;
	return 0;
}
