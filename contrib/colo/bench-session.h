/*
 * A whole bench: rounds, builds in turn, one runner after the other
 *
 * To be called inside the sandbox (sandbox.h).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_SESSION_H
#define COLO_BENCH_SESSION_H

#include "bench-run.h"

typedef struct BenchPlan {
    BenchEffort effort;
    ScenarioConfig config;    /* its qemu and compare are ignored */
    const char *qemu[2];      /* A and B; B may be NULL: it is left out */
    const char *name[2];
    const char *compare[2];   /* a choice of the procedure's, for each */
    const char *metrics;      /* names of runners by commas; NULL: all */
    bool alone;               /* measure a guest alone, and the limits */
    /*
     * A runner has ended, or a round where @all: what there is so far is to
     * be saved, with all that takes long where @all.
     */
    void (*save)(void *opaque, bool all);
    void *opaque;
} BenchPlan;

/* False with @errp set where @metrics names no runner. */
bool bench_plan_check(const char *metrics, Error **errp);

/*
 * Runs it in directory @dir.  What fails is told by @timeline, noted in
 * @results as missing, and does not keep the rest from being measured.
 * Returns how many runs of a runner have failed.
 */
unsigned bench_session(const BenchPlan *plan, Timeline *timeline,
                       BenchResults *results, const char *dir);

#endif
