/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A server that accepts by io_uring and says what it knows of each connection.
 *
 *   io_uring_server CPU WAYS FD...
 *
 * CPU: where it, and whatever works for it in the kernel, runs. WAYS: the words below,
 * joined by commas. FD...: listening sockets. It says "ready", posts its accepts at the
 * first line of input, says "posted", and then for each connection
 *
 *   PID CPU RXCPU LISTEN_FD FD RPORT
 *
 * with -1 for a descriptor that it does not have.
 */
#define _GNU_SOURCE
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_FLIGHT 4 /* single accepts posted at once for each listening socket */
#define SLOTS 64

static struct {
	bool multishot; /* one request for all connections */
	bool async;     /* in a worker thread of the kernel */
	bool sqpoll;    /* submitted and accepted by a thread of the kernel */
	bool defer;     /* task work only when this thread asks for completions */
	bool direct;    /* into a slot that the kernel chooses, no descriptor */
	bool slot;      /* into a slot that is given */
	bool fixed;     /* the listening socket is a registered file */
	bool alike;     /* all requests have one user_data */
	bool reuse;     /* polls the connection with the user_data that the accept had */
	bool mixed;     /* waits in accept4 on the last FD, while the others are the ring's */
} way;

static struct io_uring ring;
static int cpu, listeners, listen_fds[SLOTS];

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	printf("%s: %s\n", what, strerror(-result));
	exit(1);
}

static void post(int number)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	int fd = way.fixed ? SLOTS - 1 - number : listen_fds[number];

	if (way.multishot)
		io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, 0);
	else
		io_uring_prep_accept(sqe, fd, NULL, NULL, 0);
	if (way.direct)
		sqe->file_index = IORING_FILE_INDEX_ALLOC;
	if (way.slot)
		sqe->file_index = number + 1;
	sqe->user_data = way.alike ? 0 : number;
	if (way.fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	if (way.async)
		sqe->flags |= IOSQE_ASYNC;
}

static void describe(int number, int fd, bool has_fd)
{
	struct sockaddr_in6 peer = {};
	socklen_t length = sizeof(peer), size = sizeof(int);
	int rxcpu = -2;
	bool known = !way.fixed && (!way.alike || listeners == 1);

	if (has_fd) {
		getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &rxcpu, &size);
		getpeername(fd, (struct sockaddr *)&peer, &length);
		close(fd);
	}
	/* The port is in the same place for both families. */
	printf("%d %d %d %d %d %d\n", getpid(), cpu, rxcpu, known ? listen_fds[number] : -1,
	       has_fd ? fd : -1, ntohs(peer.sin6_port));
}

/*
 * A multishot poll posts POLLOUT: as a descriptor, the connection's. The memory of the
 * accept that is over goes to the next request, which is another accept.
 */
static void poll_alike(int user_data, int fd)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;

	post(user_data + 1);
	sqe = io_uring_get_sqe(&ring);
	if (dup2(fd, POLLOUT) < 0)
		exit(1);
	io_uring_prep_poll_multishot(sqe, fd, POLLOUT);
	sqe->user_data = user_data;
	check(io_uring_submit(&ring), "poll");
	/* The wait may end early: the kernel interrupts it to run its own work. */
	while (io_uring_wait_cqe(&ring, &cqe))
		;
	if (cqe->res != POLLOUT || !(cqe->flags & IORING_CQE_F_MORE)) {
		printf("poll posted %d\n", cqe->res);
		exit(1);
	}
	io_uring_cqe_seen(&ring, cqe);
}

static void reap(void)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&ring, &cqe)) {
		int number = cqe->user_data, result = cqe->res, none = -1;
		bool goes_on = cqe->flags & IORING_CQE_F_MORE;

		check(result, "accept");
		io_uring_cqe_seen(&ring, cqe);
		if (way.reuse)
			poll_alike(number, result);
		describe(number, result, !way.slot && !way.direct);
		if (way.slot || way.direct)
			io_uring_register_files_update(&ring, way.slot ? number + 1 : result, &none, 1);
		if (!goes_on)
			post(number);
	}
}

static void serve(void)
{
	for (;;) {
		if (way.mixed) {
			int fd = accept4(listen_fds[listeners], NULL, NULL, 0);

			check(fd, "accept4");
			describe(listeners, fd, true);
			check(io_uring_submit(&ring), "io_uring_submit");
		} else {
			check(io_uring_submit_and_wait(&ring, 1), "io_uring_enter");
		}
		reap();
	}
}

static void set_up(void)
{
	struct io_uring_params params = {};
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	check(sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity");
	if (way.defer)
		params.flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	if (way.sqpoll) {
		params.flags |= IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
		params.sq_thread_cpu = cpu;
		params.sq_thread_idle = 500;
	}
	check(io_uring_queue_init_params(SLOTS, &ring, &params), "io_uring_setup");
	if (way.async)
		check(io_uring_register_iowq_aff(&ring, sizeof(cpus), &cpus), "iowq_aff");
	if (way.fixed || way.direct || way.slot)
		check(io_uring_register_files_sparse(&ring, SLOTS), "register_files");
	for (int number = 0; way.fixed && number < listeners; number++)
		check(io_uring_register_files_update(&ring, SLOTS - 1 - number,
						     &listen_fds[number], 1), "files_update");
}

int main(int argc, char **argv)
{
	char line[16], *word, *rest = argv[2];

	setvbuf(stdout, NULL, _IOLBF, 0);
	cpu = atoi(argv[1]);
	while ((word = strsep(&rest, ","))) {
		way.multishot |= !strcmp(word, "multishot");
		way.async |= !strcmp(word, "async");
		way.sqpoll |= !strcmp(word, "sqpoll");
		way.defer |= !strcmp(word, "defer");
		way.direct |= !strcmp(word, "direct");
		way.slot |= !strcmp(word, "slot");
		way.fixed |= !strcmp(word, "fixed");
		way.alike |= !strcmp(word, "alike");
		way.reuse |= !strcmp(word, "reuse");
		way.mixed |= !strcmp(word, "mixed");
	}
	for (int number = 3; number < argc; number++)
		listen_fds[listeners++] = atoi(argv[number]);
	listeners -= way.mixed;
	set_up();
	printf("ready\n");
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	for (int number = 0; number < (way.reuse ? 1 : listeners); number++) {
		for (int i = 0; i < (way.multishot || way.slot || way.reuse ? 1 : IN_FLIGHT); i++)
			post(number);
	}
	check(io_uring_submit(&ring), "io_uring_submit");
	printf("posted\n");
	serve();
}
