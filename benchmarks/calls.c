/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A cheap system call at a steady rate, for tracers to see.
 *
 *   calls CPU RATE MILLISECONDS
 *
 * The call is getpgid(0), which next to nobody makes. Every 100 us those are made that are due
 * by then, and the wait between is a spin: the CPU is this program's. Prints how many were made
 * and in how many nanoseconds: where the machine cannot make them fast enough, the rate reached
 * is below the one asked for.
 */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STEP_NS 100000

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	int64_t begin, end, made = 0;
	struct sched_param lowest = { .sched_priority = 1 };
	double rate;
	cpu_set_t set;

	if (argc != 4)
		errx(2, "calls CPU RATE MILLISECONDS");
	CPU_ZERO(&set);
	CPU_SET(atoi(argv[1]), &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %s", argv[1]);
	/* On a busy machine the others shall wait; if we may not ask for it, so be it. */
	sched_setscheduler(0, SCHED_FIFO, &lowest);
	rate = atof(argv[2]);
	begin = now();
	end = begin + atoll(argv[3]) * 1000000;
	for (int64_t step = begin; step < end; step += STEP_NS) {
		int64_t due;

		int64_t time;

		while ((time = now()) < step)
			;
		if (time > end)
			break;
		due = (step + STEP_NS - begin) * rate / 1e9;
		for (; made < due; made++)
			syscall(SYS_getpgid, 0);
	}
	printf("%lld %lld\n", (long long)made, (long long)(now() - begin));
	return 0;
}
