/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that see an accept, for every probe type. Whoever includes this has defined
 * accepted(file, listen_fd, fd), which they call for each connection that accept() or accept4()
 * returned.
 *
 * Where to look. At the moment of interest the new socket, its descriptor and the
 * listening descriptor must all be known, and a call that was already blocked when
 * tracing began must not be missed. That rules out the entry or the return of
 * __sys_accept4 (a blocked call is past the one and not redirected to the other) and
 * do_accept (knows no descriptor). It leaves two places:
 *
 *   fd_install(fd, file)  the last step of the call, and never inlined into net/socket.c.
 *                         The system call's own registers say that it is an accept and
 *                         what it listens on. Costs nothing to other system calls.
 *   the system call's exit  sees blocked calls too, because the flag that diverts a
 *                         return to user space is read on the way out. Every system call
 *                         on the machine becomes a little slower while it is on.
 */
#ifndef LOCALITY_ACCEPT_PROBES_H
#define LOCALITY_ACCEPT_PROBES_H

#include "accept_record.h"
#ifndef LOCALITY_BCC /* its programs are typed: they need BTF */
#include "accept_io_uring.h"
#endif

/*
 * Is this system call an accept? On which descriptor it listens goes to `listen_fd`. The numbers of
 * 32-bit programs are others; nothing is read for a call that has neither.
 */
static __always_inline bool is_accept(struct pt_regs *regs, int number, int *listen_fd)
{
	bool native = number == NR_ACCEPT || number == NR_ACCEPT4;

	if (!native && !MAY_BE_32BIT_ACCEPT(number))
		return false;
	if (is_32bit(regs))
		return accept_of_32bit(regs, number, listen_fd);
	*listen_fd = BPF_CORE_READ(regs, FIRST_ARGUMENT);
	return native;
}

static __always_inline void installed(unsigned int fd, struct file *file)
{
	struct pt_regs *regs;
	int listen_fd;

	if (!wanted_caller())
		return;
	regs = USER_REGISTERS();
	/* Not running: over, or what an io_uring worker inherited, so that what is installed now
	   is io_uring's. */
	if (CALL_IS_RUNNING(BPF_CORE_READ, regs) &&
	    is_accept(regs, BPF_CORE_READ(regs, CALL_NUMBER), &listen_fd))
		accepted(file, listen_fd, fd);
}

FENTRY(fd_install, unsigned int fd, struct file *file)
{
	installed(fd, file);
	return 0;
}

KPROBE(fd_install, unsigned int fd, struct file *file)
{
	installed(fd, file);
	return 0;
}

/* An accept returns `ret`. */
static __always_inline void returned(int listen_fd, long ret)
{
	struct file *file;

	if (ret < 0 || !wanted_caller())
		return;
	file = file_of(ret);
	if (file)
		accepted(file, listen_fd, ret);
}

/* These two tracepoints are silent about 32-bit programs (ARCH_TRACE_IGNORE_COMPAT_SYSCALLS). */
static __always_inline int listening_fd(void)
{
	return READ(USER_REGISTERS(), struct pt_regs, FIRST_ARGUMENT);
}

TRACEPOINT(tracepoint_accept, syscalls, sys_exit_accept, struct syscall_trace_exit *ctx)
{
	returned(listening_fd(), ctx->ret);
	return 0;
}

TRACEPOINT(tracepoint_accept4, syscalls, sys_exit_accept4, struct syscall_trace_exit *ctx)
{
	returned(listening_fd(), ctx->ret);
	return 0;
}

TYPED_TRACEPOINT(raw_sys_exit, sys_exit, struct pt_regs *regs, long ret)
{
	int listen_fd;

	if (is_accept(regs, regs->CALL_NUMBER, &listen_fd))
		returned(listen_fd, ret);
	return 0;
}

#endif
