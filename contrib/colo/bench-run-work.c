/*
 * Runner: how much a guest gets done that only computes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-cpus.h"
#include "bench-run.h"
#include "bench-work.h"
#include "guest-proto.h"

#define SETTLE_S 1.0
#define MILLION 1e6

typedef struct Work {
    uint64_t rounds;
    int64_t ns;             /* when they were asked for */
} Work;

/*
 * The two guests differ in the answer, which waits for a checkpoint; the guest
 * reads its counter when it is asked.
 */
static bool look(BenchRun *run, Work *work, Error **errp)
{
    g_autofree char *answer = NULL;

    work->ns = bench_now_ns();
    answer = bench_guest_ask(run->guest, "work-stat", errp);
    if (!answer) {
        return false;
    }
    if (sscanf(answer, "rounds %" SCNu64, &work->rounds) != 1) {
        error_setg(errp, "the guest's answer to work-stat is '%s'", answer);
        return false;
    }
    return true;
}

/* @rate: steps per second, millions */
static bool measure(BenchRun *run, double *rate, Error **errp)
{
    Work before, after;

    if (!bench_guest_sleep(run->guest, SETTLE_S, errp) ||
        !look(run, &before, errp) ||
        !bench_guest_sleep(run->guest, run->effort->cost_s, errp) ||
        !look(run, &after, errp)) {
        return false;
    }
    *rate = (after.rounds - before.rounds) * GUEST_WORK_STEPS / MILLION /
            ((after.ns - before.ns) / 1e9);
    return true;
}

/* What the guest alone gets done is the limit. */
static void add(BenchRun *run, const char *metric, double rate)
{
    g_autofree char *limit = g_strdup_printf("limit.%s", metric);

    bench_run_add(run, metric, rate);
    if (!bench_guest_is_pair(run->guest)) {
        bench_results_add(run->results, limit, BENCH_LIMIT, run->round, rate);
    }
}

/* Each host has CPUs of its own from here on. */
static bool part(BenchRun *run, const cpu_set_t *host, Error **errp)
{
    BenchGuest *g = run->guest;

    return bench_cpus_confine(bench_guest_pid(g, BENCH_PRIMARY), &host[0], errp) &&
           (!bench_guest_is_pair(g) ||
            bench_cpus_confine(bench_guest_pid(g, BENCH_SECONDARY), &host[1], errp));
}

bool bench_run_work(BenchRun *run, Error **errp)
{
    cpu_set_t all, host[2];
    double rate;

    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof(all), &all) < 0) {
        error_setg_errno(errp, errno, "which CPUs are there?");
        return false;
    }
    if (!bench_guest_command(run->guest, "work 1", errp) ||
        !measure(run, &rate, errp)) {
        return false;
    }
    add(run, "work.idle", rate);
    if (bench_cpus_halve(&all, host)) {
        if (!part(run, host, errp) || !measure(run, &rate, errp)) {
            return false;
        }
        add(run, "work.apart", rate);
    }
    return bench_guest_command(run->guest, "work 0", errp);
}
