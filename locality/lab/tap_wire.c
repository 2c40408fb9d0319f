/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A cable between two network namespaces that has a queue for each CPU, as a card with RSS has.
 *
 *   tap_wire NAME NETNS NETNS CPU...
 *
 * Makes a tap device called NAME in each namespace (paths like /proc/PID/ns/net), with one queue
 * for each CPU. One thread, pinned to CPU i, carries packets between queue i of both devices. It
 * prints "ready" when both devices are there; they go when this process ends.
 *
 * The kernel allocates a packet's sk_buff in write() and receives it in the same call. So what
 * comes in on queue i is allocated and received on CPU i, as from a card whose queue i interrupts
 * CPU i. A veth, in contrast, hands over the sender's own sk_buff.
 *
 * A flow stays on one queue in both directions. For each packet that a namespace sends, the
 * device chooses the queue (tun_automq_select_queue() in drivers/net/tun.c) by a hash of addresses
 * and ports. The hash does not change if source and destination are exchanged, and both devices
 * have equally many queues, so both choose the same queue. The device's flow table, which learns
 * the queue on which a flow comes in, then only repeats this choice: no steering program
 * (TUNSETSTEERINGEBPF) is needed.
 *
 * Checksum and segmentation offload are on: each packet carries a virtio_net_hdr, which goes to
 * the other side as it is.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAX_QUEUES 256 /* MAX_TAP_QUEUES in drivers/net/tun.c */
/* Packets in one direction before the other direction gets its turn. */
#define BATCH 64
/* More than a virtio_net_hdr, an Ethernet header and the largest packet of TSO. */
#define LARGEST_PACKET (1 << 17)

struct queue {
	int cpu;
	int ends[2]; /* the descriptors of this queue in both devices */
	pthread_t thread;
};

/* Let this thread, which makes the devices, work in a network namespace. */
static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err(1, "%s", netns);
	close(fd);
}

/* One more queue of the device in the current namespace; the first one makes the device. */
static int open_queue(const char *name)
{
	struct ifreq request = {
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE,
	};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		err(1, "/dev/net/tun");
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &request))
		err(1, "TUNSETIFF %s", name);
	if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN))
		err(1, "TUNSETOFFLOAD %s", name);
	return fd;
}

/* Carry what waits in one direction, BATCH packets at most; returns how many. */
static int carry(int from, int to, char *packet)
{
	for (int count = 0; count < BATCH; count++) {
		ssize_t length = read(from, packet, LARGEST_PACKET);

		if (length < 0 && errno == EAGAIN)
			return count;
		if (length < 0 && errno != EINTR)
			err(1, "read");
		/* What the other side refuses is lost, and counted by its device. */
		if (length > 0 && write(to, packet, length) < 0 && errno == EBADFD)
			err(1, "write");
	}
	return BATCH;
}

static void *carry_queue(void *argument)
{
	struct queue *queue = argument;
	struct pollfd waiting[2] = {
		{.fd = queue->ends[0], .events = POLLIN},
		{.fd = queue->ends[1], .events = POLLIN},
	};
	char *packet = malloc(LARGEST_PACKET);

	if (!packet)
		err(1, "malloc");
	for (;;) {
		if (carry(queue->ends[0], queue->ends[1], packet) +
		    carry(queue->ends[1], queue->ends[0], packet))
			continue;
		if (poll(waiting, 2, -1) < 0 && errno != EINTR)
			err(1, "poll");
	}
}

static void start(struct queue *queue)
{
	pthread_attr_t pinned;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(queue->cpu, &cpus);
	errno = pthread_attr_init(&pinned);
	if (!errno)
		errno = pthread_attr_setaffinity_np(&pinned, sizeof(cpus), &cpus);
	if (!errno)
		errno = pthread_create(&queue->thread, &pinned, carry_queue, queue);
	if (errno)
		err(1, "thread on CPU %d", queue->cpu);
}

int main(int argc, char **argv)
{
	static struct queue queues[MAX_QUEUES];
	int count = argc - 4;

	if (count < 1 || count > MAX_QUEUES)
		errx(2, "usage: tap_wire NAME NETNS NETNS CPU... (at most %d)", MAX_QUEUES);
	/* The end of who started us is our end, even if nobody could tell us. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		err(1, "PR_SET_PDEATHSIG");
	/* The first namespace last: this process stays in it. */
	for (int end = 1; end >= 0; end--) {
		enter(argv[2 + end]);
		for (int i = 0; i < count; i++)
			queues[i].ends[end] = open_queue(argv[1]);
	}
	for (int i = 0; i < count; i++) {
		queues[i].cpu = atoi(argv[4 + i]);
		start(&queues[i]);
	}
	puts("ready");
	fflush(stdout);
	return pthread_join(queues[0].thread, NULL);
}
