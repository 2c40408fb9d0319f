/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two processes on loopback that send 32 bytes to and fro, each pinned to one CPU.
 *
 *   pingpong tcp|udp SERVER_CPU CLIENT_CPU
 *
 * First it prints the ports and the pids of both ends, the server's before the client's. For
 * each number of milliseconds read from standard input it plays for so long and prints the round
 * trips made and the nanoseconds of one, in the median of all batches: a batch that another
 * program or machine broke into has no say.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BATCH 16
#define MOST_BATCHES 100000

static void pin(int cpu)
{
	struct sched_param lowest = { .sched_priority = 1 };
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %d", cpu);
	/* On a busy machine the others shall wait; if we may not ask for it, so be it. */
	sched_setscheduler(0, SCHED_FIFO, &lowest);
}

static int bound_socket(int type)
{
	struct sockaddr_in any = { .sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)))
		err(1, "socket");
	return fd;
}

static int port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length))
		err(1, "getsockname");
	return ntohs(address.sin_port);
}

static void connect_to(int fd, int peer)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);

	if (getsockname(peer, (struct sockaddr *)&address, &length) ||
	    connect(fd, (struct sockaddr *)&address, length))
		err(1, "connect");
}

static void make_pair(const char *protocol, int ends[2])
{
	int one = 1;

	if (!strcmp(protocol, "udp")) {
		ends[0] = bound_socket(SOCK_DGRAM);
		ends[1] = bound_socket(SOCK_DGRAM);
		connect_to(ends[0], ends[1]);
		connect_to(ends[1], ends[0]);
		return;
	}
	int listener = bound_socket(SOCK_STREAM);

	ends[1] = bound_socket(SOCK_STREAM);
	if (listen(listener, 1))
		err(1, "listen");
	connect_to(ends[1], listener);
	ends[0] = accept(listener, NULL, NULL);
	if (ends[0] < 0)
		err(1, "accept");
	for (int i = 0; i < 2; i++)
		setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void serve(int fd)
{
	char message[64];
	ssize_t size;

	while ((size = recv(fd, message, sizeof(message), 0)) > 0)
		send(fd, message, size, 0);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int ascending(const void *one, const void *other)
{
	uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

	return (a > b) - (a < b);
}

static void play(int fd, uint64_t wanted)
{
	static uint64_t batches[MOST_BATCHES];
	uint64_t begin = now(), last = begin;
	char message[64] = { 0 };
	size_t count = 0;

	while (last - begin < wanted && count < MOST_BATCHES) {
		uint64_t first = last;

		for (int i = 0; i < BATCH; i++) {
			if (send(fd, message, 32, 0) != 32 || recv(fd, message, 64, 0) != 32)
				err(1, "round trip");
		}
		last = now();
		batches[count++] = last - first;
	}
	qsort(batches, count, sizeof(batches[0]), ascending);
	printf("%zu %g\n", count * BATCH, (double)batches[count / 2] / BATCH);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned milliseconds;
	int ends[2];
	pid_t server;

	if (argc != 4)
		errx(2, "usage: pingpong tcp|udp SERVER_CPU CLIENT_CPU");
	make_pair(argv[1], ends);
	server = fork();
	if (server < 0)
		err(1, "fork");
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[1]);
		pin(atoi(argv[2]));
		serve(ends[0]);
		_exit(0);
	}
	printf("%d %d %d %d\n", port_of(ends[0]), port_of(ends[1]), server, getpid());
	fflush(stdout);
	close(ends[0]);
	pin(atoi(argv[3]));
	while (scanf("%u", &milliseconds) == 1)
		play(ends[1], milliseconds * 1000000ull);
	return 0;
}
