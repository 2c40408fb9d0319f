/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Connections over loopback, as fast as they can be made and accepted.
 *
 *   storm THREADS
 *
 * For each number read from standard input that many connections are made, shared among the
 * threads, and the milliseconds it took are printed. A thread is client and server in one and
 * stays on one CPU: it connects, accepts, and closes both ends. So a connection is accepted as
 * soon as it is there, no queue overflows, and the number is exact. It ends by a reset,
 * for otherwise the ports would be used up after 28,000.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct worker {
	pthread_t thread;
	int cpu;
	int listener;
	struct sockaddr_in address;
	long connections;
};

static void open_listener(struct worker *worker)
{
	socklen_t size = sizeof(worker->address);

	worker->address.sin_family = AF_INET;
	worker->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	worker->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (worker->listener < 0 ||
	    bind(worker->listener, (struct sockaddr *)&worker->address, size) ||
	    listen(worker->listener, 64) ||
	    getsockname(worker->listener, (struct sockaddr *)&worker->address, &size))
		err(1, "listener");
}

static void *connect_and_accept(void *argument)
{
	const struct linger reset = { .l_onoff = 1 };
	struct worker *worker = argument;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(worker->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %d", worker->cpu);
	for (long i = 0; i < worker->connections; i++) {
		int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int server;

		if (client < 0 || connect(client, (struct sockaddr *)&worker->address,
					  sizeof(worker->address)))
			err(1, "connect");
		server = accept4(worker->listener, NULL, NULL, SOCK_CLOEXEC);
		if (server < 0)
			err(1, "accept4");
		setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(client);
		close(server);
	}
	return NULL;
}

static int nth_allowed_cpu(int n)
{
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		err(1, "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && n-- == 0)
			return cpu;
	errx(1, "fewer CPUs than threads");
}

int main(int argc, char **argv)
{
	int threads = argc == 2 ? atoi(argv[1]) : 0;
	struct worker *workers;
	long connections;

	if (threads < 1)
		errx(2, "storm THREADS");
	workers = calloc(threads, sizeof(*workers));
	if (!workers)
		err(1, "calloc");
	for (int i = 0; i < threads; i++) {
		workers[i].cpu = nth_allowed_cpu(i);
		open_listener(&workers[i]);
	}
	while (scanf("%ld", &connections) == 1) {
		struct timespec begin, end;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		for (int i = 0; i < threads; i++) {
			workers[i].connections = connections / threads +
						 (i < connections % threads);
			if (pthread_create(&workers[i].thread, NULL, connect_and_accept,
					   &workers[i]))
				errx(1, "pthread_create");
		}
		for (int i = 0; i < threads; i++)
			pthread_join(workers[i].thread, NULL);
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("%.3f\n", (end.tv_sec - begin.tv_sec) * 1e3 +
				 (end.tv_nsec - begin.tv_nsec) / 1e6);
		fflush(stdout);
	}
	return 0;
}
