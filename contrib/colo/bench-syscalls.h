/*
 * Counts the system calls of another process
 *
 * By ptrace, from a child of ours: each entry into the kernel of each thread
 * stops and is counted, so that the number is exact.  The process is slower
 * by that, of course; do not measure time meanwhile.
 *
 * Thread: one, any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_SYSCALLS_H
#define COLO_BENCH_SYSCALLS_H

#include "qapi/error.h"

typedef struct SyscallCounter SyscallCounter;

/*
 * Begins to count all threads of @pid, and those they make.  NULL with @errp
 * set where the kernel forbids it: root may always, others rarely.
 */
SyscallCounter *syscall_counter_new(pid_t pid, Error **errp);

/* Ends counting; the process runs on. */
void syscall_counter_free(SyscallCounter *counter);

/* Entries so far.  A call that has begun counts, also if it still lasts. */
uint64_t syscall_counter_read(SyscallCounter *counter);

#endif
