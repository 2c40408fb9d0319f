/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many processes that read many TCP connections over loopback: readers PROCESSES CONNECTIONS
 * ROUND_MS SECONDS. Each process opens CONNECTIONS / PROCESSES connections and accepts as many, which
 * may be those of others. In each round it writes once to each that it opened and reads once from
 * each that it accepted. It prints a line when all are connected, and all end with the parent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void read_and_write(int listener, const struct sockaddr_in *address, int connections,
			   int round_ms, int ready)
{
	int opened[MOST], accepted[MOST];
	struct timespec pause = {round_ms / 1000, round_ms % 1000 * 1000000L};
	char bytes[4096] = {0};

	for (int i = 0; i < connections; i++) {
		opened[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(opened[i], (const struct sockaddr *)address, sizeof(*address)))
			fail("connect");
		accepted[i] = accept(listener, NULL, NULL);
		if (accepted[i] < 0)
			fail("accept");
	}
	if (write(ready, bytes, 1) != 1)
		fail("write");
	for (;;) {
		for (int i = 0; i < connections; i++) {
			if (write(opened[i], bytes, 100) != 100)
				fail("write");
		}
		for (int i = 0; i < connections; i++) {
			if (read(accepted[i], bytes, sizeof(bytes)) <= 0)
				fail("read");
		}
		nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int processes, connections, round_ms, listener, ready[2];
	char byte;

	if (argc != 5)
		return 2;
	processes = atoi(argv[1]);
	connections = atoi(argv[2]) / processes;
	round_ms = atoi(argv[3]);
	if (connections > MOST)
		return 2;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, processes) || pipe(ready) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		fail("listen");
	alarm(atoi(argv[4]));
	for (int i = 0; i < processes; i++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			alarm(atoi(argv[4]));
			read_and_write(listener, &address, connections, round_ms, ready[1]);
		}
	}
	for (int i = 0; i < processes; i++) {
		while (read(ready[0], &byte, 1) != 1) {
			if (errno != EINTR)
				fail("read");
		}
	}
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	pause();
	return 0;
}
