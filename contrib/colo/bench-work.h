/*
 * Work of a bench that must not wait for the main loop
 *
 * What is timed to the microsecond runs in a thread of its own, with blocking
 * calls; the main loop goes on meanwhile, for the monitors and the pair.
 *
 *     static bool work(BenchWork *w, void *opaque, Error **errp)
 *     {
 *         while (...) {
 *             if (!bench_work_wait(w, fd, POLLIN, errp)) {
 *                 return false;
 *             }
 *             ...
 *     }
 *     ok = bench_work_run(work, opaque, 10000, &err);
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_WORK_H
#define COLO_BENCH_WORK_H

#include "qapi/error.h"

typedef struct BenchWork BenchWork;

/* Runs in the work's thread; false with @errp set where it failed. */
typedef bool BenchWorkFunc(BenchWork *work, void *opaque, Error **errp);

/*
 * Starts @func in a thread of its own.  It has @timeout_ms: all its waits
 * fail after that, or once bench_work_stop() was called.
 */
BenchWork *bench_work_start(BenchWorkFunc *func, void *opaque,
                            int timeout_ms);
/* Asks it to end: bench_work_stopped() is true from now on; any thread. */
void bench_work_stop(BenchWork *work);
/*
 * Iterates the default main context until @work has ended, and frees it.
 * False with @errp set where it failed.
 */
bool bench_work_finish(BenchWork *work, Error **errp);

/* Start and finish in one. */
bool bench_work_run(BenchWorkFunc *func, void *opaque, int timeout_ms,
                    Error **errp);

/* The following are for the work's thread. */

/* It was asked to end: no error, it has done what it was there for. */
bool bench_work_stopped(BenchWork *work);
/*
 * Waits for @events (poll) of @fd.  False with @errp set where they do not
 * come in time, or the work was stopped.
 */
bool bench_work_wait(BenchWork *work, int fd, short events, Error **errp);
/*
 * The same until the monotonic time @until_ns at the latest.  Returns 1, 0
 * when that time has come, -1 with @errp set.
 */
int bench_work_wait_until(BenchWork *work, int fd, short events,
                          int64_t until_ns, Error **errp);

/* Nanoseconds, monotonic. */
int64_t bench_now_ns(void);

#endif
