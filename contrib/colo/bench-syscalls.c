/*
 * Counts the system calls of another process
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "qemu/atomic.h"
#include "bench-syscalls.h"

#define READY_MS 5000
#define MAX_THREADS 256
#define SYSCALL_STOP (SIGTRAP | 0x80)
#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)

/* What the tracer tells us */
typedef struct Shared {
    uint64_t entries;
    int ready;             /* 1: it counts; -errno: it cannot */
} Shared;

struct SyscallCounter {
    pid_t tracer;
    Shared *shared;
};

/*
 * The tracer is forked from a process that may have threads: it calls what
 * is async-signal-safe, and nothing else.
 */

static bool is_entry(pid_t tid)
{
    struct __ptrace_syscall_info info;

    return ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
           info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

/* Returns the signal to pass on to the thread. */
static int handle_stop(Shared *shared, pid_t tid, int status)
{
    int sig = WSTOPSIG(status);

    if (sig == SYSCALL_STOP) {
        if (is_entry(tid)) {
            qatomic_set__nocheck(&shared->entries, shared->entries + 1);
        }
        return 0;
    }
    /* An event: a new thread, or the stop that we have asked for */
    return status >> 16 ? 0 : sig;
}

static void G_GNUC_NORETURN trace(Shared *shared, const pid_t *tids,
                                  unsigned count)
{
    int status;
    pid_t tid;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < count; i++) {
        if (ptrace(PTRACE_SEIZE, tids[i], 0, OPTIONS) < 0 ||
            ptrace(PTRACE_INTERRUPT, tids[i], 0, 0) < 0) {
            qatomic_set(&shared->ready, -errno);
            _exit(1);
        }
    }
    for (unsigned stopped = 0;; ) {
        tid = waitpid(-1, &status, __WALL);
        if (tid < 0) {
            _exit(errno == ECHILD ? 0 : 1);
        }
        if (!WIFSTOPPED(status)) {
            continue;
        }
        ptrace(PTRACE_SYSCALL, tid, 0, handle_stop(shared, tid, status));
        if (stopped < count && ++stopped == count) {
            qatomic_set(&shared->ready, 1);
        }
    }
}

static unsigned list_threads(pid_t pid, pid_t tids[MAX_THREADS], Error **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", pid);
    g_autoptr(GError) gerr = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &gerr);
    unsigned count = 0;
    const char *name;

    if (!dir) {
        error_setg(errp, "%s", gerr->message);
        return 0;
    }
    while ((name = g_dir_read_name(dir)) && count < MAX_THREADS) {
        tids[count++] = atoi(name);
    }
    if (!count) {
        error_setg(errp, "process %d has no threads left", pid);
    }
    return count;
}

SyscallCounter *syscall_counter_new(pid_t pid, Error **errp)
{
    pid_t tids[MAX_THREADS];
    unsigned count = list_threads(pid, tids, errp);
    SyscallCounter *counter;
    int ready = 0;

    if (!count) {
        return NULL;
    }
    counter = g_new0(SyscallCounter, 1);
    counter->shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(counter->shared != MAP_FAILED);
    counter->tracer = fork();
    if (!counter->tracer) {
        trace(counter->shared, tids, count);
    }
    for (int ms = 0; counter->tracer > 0 && !ready && ms < READY_MS; ms++) {
        g_usleep(1000);
        ready = qatomic_read(&counter->shared->ready);
    }
    if (ready != 1) {
        error_setg(errp, "cannot count system calls: %s",
                   ready < 0 ? strerror(-ready) : "the tracer does not start");
        syscall_counter_free(counter);
        return NULL;
    }
    return counter;
}

void syscall_counter_free(SyscallCounter *counter)
{
    if (!counter) {
        return;
    }
    if (counter->tracer > 0) {
        /* A tracer's end lets its threads go on (ptrace(2)). */
        kill(counter->tracer, SIGKILL);
        waitpid(counter->tracer, NULL, 0);
    }
    munmap(counter->shared, sizeof(Shared));
    g_free(counter);
}

uint64_t syscall_counter_read(SyscallCounter *counter)
{
    return qatomic_read__nocheck(&counter->shared->entries);
}
