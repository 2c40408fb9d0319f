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

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_ACCEPT 43
#define NR_ACCEPT4 288

/* include/uapi/asm-generic/errno.h */
#define ENOSYS 38

static __always_inline void installed(unsigned int fd, struct file *file)
{
	struct pt_regs *regs;
	long nr;

	if (!wanted_caller())
		return;
	regs = USER_REGISTERS();
	/* Over, or the registers that an io_uring worker inherited: what is installed now is
	   io_uring's. A call that is running has this in place of its result. */
	if ((long)BPF_CORE_READ(regs, ax) != -ENOSYS)
		return;
	nr = BPF_CORE_READ(regs, orig_ax);
	if (nr == NR_ACCEPT || nr == NR_ACCEPT4)
		accepted(file, BPF_CORE_READ(regs, di), fd);
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

/* The system call returns `ret`. */
static __always_inline void returned(struct pt_regs *regs, long ret)
{
	struct file *file;

	if (ret < 0 || !wanted_caller())
		return;
	file = file_of(ret);
	if (file)
		accepted(file, BPF_CORE_READ(regs, di), ret);
}

TRACEPOINT(tracepoint_accept, syscalls, sys_exit_accept, struct syscall_trace_exit *ctx)
{
	returned(USER_REGISTERS(), ctx->ret);
	return 0;
}

TRACEPOINT(tracepoint_accept4, syscalls, sys_exit_accept4, struct syscall_trace_exit *ctx)
{
	returned(USER_REGISTERS(), ctx->ret);
	return 0;
}

TYPED_TRACEPOINT(raw_sys_exit, sys_exit, struct pt_regs *regs, long ret)
{
	if (regs->orig_ax == NR_ACCEPT || regs->orig_ax == NR_ACCEPT4)
		returned(regs, ret);
	return 0;
}

#endif
