// SPDX-License-Identifier: GPL-2.0-only
/*
 * A server of two threads, each with a listener of its own in one reuseport group, and each
 * pinned to a CPU:
 *
 *   threads_server PORT WAY CPU CPU [ended]
 *
 * WAY is how they wait: epoll, poll or select, or without ever blocking: spin (epoll) or
 * spinpoll. "unshared": blocking in epoll, with descriptors of the thread's own. With "ended"
 * the main thread ends. The main thread is called "  two blanks ", the others after their CPUs:
 * "thread 0". Prints for each thread the inode of its listener, its number and its CPU.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int port;
static const char *way;

static int listener(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 128)) {
		perror("listen");
		exit(1);
	}
	return fd;
}

static void await(int fd, int set)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	struct epoll_event event;
	fd_set mask;

	if (!strcmp(way, "poll") || !strcmp(way, "spinpoll")) {
		poll(&polled, 1, strcmp(way, "poll") ? 0 : -1);
	} else if (!strcmp(way, "select")) {
		FD_ZERO(&mask);
		FD_SET(fd, &mask);
		select(fd + 1, &mask, NULL, NULL, NULL);
	} else {
		epoll_wait(set, &event, 1, strcmp(way, "spin") ? -1 : 0);
	}
}

static void *serve(void *argument)
{
	struct epoll_event event = {.events = EPOLLIN};
	cpu_set_t cpus;
	struct stat info;
	int fd, set, accepted;
	char name[16];

	snprintf(name, sizeof(name), "thread %s", (char *)argument);
	pthread_setname_np(pthread_self(), name);

	CPU_ZERO(&cpus);
	CPU_SET(atoi(argument), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	if (!strcmp(way, "unshared"))
		unshare(CLONE_FILES);
	fd = listener();
	set = epoll_create1(0);
	epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
	fstat(fd, &info);
	printf("%lu %d %s\n", (unsigned long)info.st_ino, gettid(), (char *)argument);
	fflush(stdout);
	for (;;) {
		await(fd, set);
		accepted = accept4(fd, NULL, NULL, 0);
		if (accepted >= 0)
			close(accepted);
	}
	return NULL;
}

int main(int count, char **arguments)
{
	pthread_t thread;

	port = atoi(arguments[1]);
	way = arguments[2];
	pthread_setname_np(pthread_self(), "  two blanks ");
	for (int i = 3; i < 5; i++) {
		pthread_create(&thread, NULL, serve, arguments[i]);
	}
	if (count > 5)
		pthread_exit(NULL);
	pause();
}
