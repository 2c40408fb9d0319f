/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lines as `locality accept` writes them, by printf(3): lines COUNT FILE. Prints the user CPU time
 * in ns.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
	struct rusage usage;
	FILE *file;

	if (argc != 3)
		errx(2, "lines COUNT FILE");
	file = fopen(argv[2], "w");
	if (!file)
		err(1, "%s", argv[2]);
	for (unsigned int i = 0, count = atoi(argv[1]); i < count; i++)
		fprintf(file, "%02u:%02u:%02u cpu=%u rxcpu=%u %-6s %s/%u %u->%u %u.%u.%u.%u:%u %.1fus\n",
			i / 3600 % 24, i / 60 % 60, i % 60, i & 63, i & 31, "local", "nginx", i,
			4, i & 1023, 198, 18, i >> 8 & 255, i & 255, i & 65535, i / 7.0);
	if (fclose(file))
		err(1, "%s", argv[2]);
	getrusage(RUSAGE_SELF, &usage);
	printf("%lld\n", usage.ru_utime.tv_sec * 1000000000LL + usage.ru_utime.tv_usec * 1000LL);
	return 0;
}
