/*
 * Work of a bench in a thread of its own
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/atomic.h"
#include "bench-work.h"

/* How late a stop is noticed */
#define SLICE_NS (50 * 1000 * 1000)

struct BenchWork {
    BenchWorkFunc *func;
    void *opaque;
    int64_t until_ns;
    int timeout_ms;
    GThread *thread;
    bool stop;         /* atomic */
    bool ended;        /* atomic; set last by the thread */
    bool ok;           /* these two belong to the thread until @ended */
    Error *err;
};

int64_t bench_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void *work_thread(void *opaque)
{
    BenchWork *work = opaque;

    work->ok = work->func(work, work->opaque, &work->err);
    qatomic_store_release(&work->ended, true);
    g_main_context_wakeup(NULL);
    return NULL;
}

BenchWork *bench_work_start(BenchWorkFunc *func, void *opaque, int timeout_ms)
{
    BenchWork *work = g_new0(BenchWork, 1);
    sigset_t all, old;

    work->func = func;
    work->opaque = opaque;
    work->timeout_ms = timeout_ms;
    work->until_ns = bench_now_ns() + timeout_ms * 1000000LL;
    /* Signals are the main thread's business (sandbox.h). */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    work->thread = g_thread_new("bench", work_thread, work);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return work;
}

void bench_work_stop(BenchWork *work)
{
    qatomic_set(&work->stop, true);
}

bool bench_work_finish(BenchWork *work, Error **errp)
{
    bool ok;

    while (!qatomic_load_acquire(&work->ended)) {
        g_main_context_iteration(NULL, true);
    }
    g_thread_join(work->thread);
    ok = work->ok;
    if (!ok) {
        error_propagate(errp, work->err);
    }
    g_free(work);
    return ok;
}

bool bench_work_run(BenchWorkFunc *func, void *opaque, int timeout_ms,
                    Error **errp)
{
    return bench_work_finish(bench_work_start(func, opaque, timeout_ms), errp);
}

bool bench_work_stopped(BenchWork *work)
{
    return qatomic_read(&work->stop);
}

int bench_work_wait_until(BenchWork *work, int fd, short events,
                          int64_t until_ns, Error **errp)
{
    struct pollfd pfd = { .fd = fd, .events = events };

    for (;;) {
        int64_t now = bench_now_ns();
        int64_t end = MIN(MIN(until_ns, work->until_ns), now + SLICE_NS);
        int64_t left = MAX(end - now, 0);
        struct timespec ts = { left / 1000000000, left % 1000000000 };
        int n;

        if (bench_work_stopped(work)) {
            error_setg(errp, "stopped");
            return -1;
        }
        n = ppoll(&pfd, fd >= 0 ? 1 : 0, &ts, NULL);
        if (n > 0) {
            return 1;
        }
        if (n < 0 && errno != EINTR) {
            error_setg_errno(errp, errno, "poll");
            return -1;
        }
        now = bench_now_ns();
        if (now >= until_ns) {
            return 0;
        }
        if (now >= work->until_ns) {
            error_setg(errp, "not done within %d s", work->timeout_ms / 1000);
            return -1;
        }
    }
}

bool bench_work_wait(BenchWork *work, int fd, short events, Error **errp)
{
    return bench_work_wait_until(work, fd, events, INT64_MAX, errp) > 0;
}
