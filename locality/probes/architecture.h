/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that differs between x86-64 and arm64: registers, numbers of system calls, and how the
 * kernel keeps what a thread entered it with. Probes name no register and no number themselves.
 *
 *   regs->CALL_NUMBER             and FIRST_ARGUMENT to FOURTH_ARGUMENT are members of the
 *                                 registers that a thread entered the kernel with
 *   CALL_IS_RUNNING(READ, regs)   whether the call that they name is running: not over, and no
 *                                 interrupt or fault
 *   is_32bit(regs)                whether a 32-bit program made the call: then its number and its
 *                                 arguments mean something else
 *   accept_of_32bit(...)          whether such a call is an accept
 *
 * The compiler is told the architecture by __TARGET_ARCH_x86 or __TARGET_ARCH_arm64, as
 * bpf_tracing.h is; one object is made for each (hatch_build.py). bcc compiles on x86-64 only.
 */
#ifndef LOCALITY_ARCHITECTURE_H
#define LOCALITY_ARCHITECTURE_H

/* How CALL_IS_RUNNING() reads a member: by this, or by BPF_CORE_READ. */
#define LOAD(regs, member) ((regs)->member)

#if defined(__TARGET_ARCH_x86) || defined(LOCALITY_BCC)

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_RECVFROM 45
#define NR_RECVMSG 47
#define NR_ACCEPT 43
#define NR_ACCEPT4 288
#define NR_RECVMMSG 299

/* arch/x86/entry/syscalls/syscall_32.tbl, include/uapi/linux/net.h */
#define NR32_SOCKETCALL 102
#define NR32_ACCEPT4 364
#define SYS_ACCEPT 5
#define SYS_ACCEPT4 18

/* include/uapi/asm-generic/errno.h */
#define ENOSYS 38

/* arch/x86/include/asm/thread_info.h: a 32-bit system call is active */
#define TS_COMPAT 0x0002

#ifndef LOCALITY_BCC
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long di, si, dx, cx, bx, r8, r10;
	unsigned long ax, orig_ax;
};

struct thread_info {
	__u32 status;
};

struct task_struct___x86 {
	struct thread_info thread_info;
};
#pragma clang attribute pop
#else
#define task_struct___x86 task_struct
#endif

#define CALL_NUMBER orig_ax
#define FIRST_ARGUMENT di
#define SECOND_ARGUMENT si
#define THIRD_ARGUMENT dx
#define FOURTH_ARGUMENT r10

/* A call that is running has this in place of its result. What a call that is over left there,
   and the registers that an io_uring worker inherited, are something else. */
#define CALL_IS_RUNNING(READ, regs) ((long)READ(regs, ax) == -ENOSYS)

/* in_ia32_syscall() of arch/x86/include/asm/compat.h */
static __always_inline bool is_32bit(struct pt_regs *regs)
{
	struct task_struct___x86 *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
}

/* On which descriptor it listens goes to `listen_fd`, -1 where that cannot be read. Many 32-bit
   programs accept by socketcall(), which has its arguments in memory. */
static __always_inline bool accept_of_32bit(struct pt_regs *regs, int number, int *listen_fd)
{
	int call = BPF_CORE_READ(regs, bx);
	__u32 arguments;

	if (number == NR32_ACCEPT4) {
		*listen_fd = call;
		return true;
	}
	if (number != NR32_SOCKETCALL || (call != SYS_ACCEPT && call != SYS_ACCEPT4))
		return false;
	arguments = BPF_CORE_READ(regs, cx);
	if (bpf_probe_read_user(listen_fd, sizeof(*listen_fd), (void *)(unsigned long)arguments))
		*listen_fd = -1;
	return true;
}

/* Numbers by which a 32-bit program may have made an accept; most calls have another one. */
#define MAY_BE_32BIT_ACCEPT(number) \
	((number) == NR32_ACCEPT4 || (number) == NR32_SOCKETCALL)

#elif defined(__TARGET_ARCH_arm64)

/* include/uapi/asm-generic/unistd.h */
#define NR_ACCEPT 202
#define NR_RECVFROM 207
#define NR_RECVMSG 212
#define NR_ACCEPT4 242
#define NR_RECVMMSG 243

/* arch/arm/tools/syscall.tbl */
#define NR32_ACCEPT 285
#define NR32_ACCEPT4 366

/* arch/arm64/include/uapi/asm/ptrace.h: the mode of a 32-bit program */
#define PSR_MODE32_BIT 0x10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* arch/arm64/include/uapi/asm/ptrace.h; bpf_tracing.h takes a kprobe's arguments from it. */
struct user_pt_regs {
	unsigned long regs[31];
	unsigned long sp, pc, pstate;
};

/* arch/arm64/include/asm/ptrace.h */
struct pt_regs {
	union {
		struct user_pt_regs user_regs;
		struct {
			unsigned long regs[31];
			unsigned long sp, pc, pstate;
		};
	};
	unsigned long orig_x0;
	int syscallno;
};
#pragma clang attribute pop

#define CALL_NUMBER syscallno
#define FIRST_ARGUMENT orig_x0
#define SECOND_ARGUMENT regs[1]
#define THIRD_ARGUMENT regs[2]
#define FOURTH_ARGUMENT regs[3]

/* x0 is the first argument and becomes the result: a call that is running still has there what it
   came with (invoke_syscall() of arch/arm64/kernel/syscall.c). Where there is no call, its number
   is none. A call that is over and returned its own first argument would be taken for one that is
   running; accept() cannot return the descriptor on which it listens. */
#define CALL_IS_RUNNING(READ, regs) (READ(regs, regs[0]) == READ(regs, orig_x0))

/* compat_user_mode() of arch/arm64/include/asm/ptrace.h */
static __always_inline bool is_32bit(struct pt_regs *regs)
{
	return BPF_CORE_READ(regs, pstate) & PSR_MODE32_BIT;
}

/* On which descriptor it listens goes to `listen_fd`. */
static __always_inline bool accept_of_32bit(struct pt_regs *regs, int number, int *listen_fd)
{
	*listen_fd = BPF_CORE_READ(regs, orig_x0);
	return number == NR32_ACCEPT || number == NR32_ACCEPT4;
}

/* Numbers by which a 32-bit program may have made an accept; most calls have another one. */
#define MAY_BE_32BIT_ACCEPT(number) \
	((number) == NR32_ACCEPT || (number) == NR32_ACCEPT4)

#else
#error "locality's probes know x86-64 and arm64"
#endif

#endif
