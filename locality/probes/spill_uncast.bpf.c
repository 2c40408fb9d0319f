// SPDX-License-Identifier: GPL-2.0-only
/*
 * spill.bpf.c for kernels without bpf_rdonly_cast(), which came with 6.2. libbpf seeks a function that
 * the kernel does not have in the types of all its modules. For that it needs CAP_SYS_ADMIN, even where
 * the function may be missing (__weak). So here is no word of it.
 */
#define WITHOUT_CAST
#include "spill.bpf.c"
