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
#define TURN_SETTLE_S 0.3
#define TURN_S 1.0
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

/* @rate: steps per second, millions, once @settle_s have passed */
static bool measure(BenchRun *run, double settle_s, double seconds, double *rate,
                    Error **errp)
{
    Work before, after;

    if (!bench_guest_sleep(run->guest, settle_s, errp) ||
        !look(run, &before, errp) ||
        !bench_guest_sleep(run->guest, seconds, errp) ||
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

static bool confine(BenchRun *run, const cpu_set_t *primary,
                    const cpu_set_t *secondary, Error **errp)
{
    BenchGuest *g = run->guest;

    return bench_cpus_confine(bench_guest_pid(g, BENCH_PRIMARY), primary, errp) &&
           (!bench_guest_is_pair(g) ||
            bench_cpus_confine(bench_guest_pid(g, BENCH_SECONDARY), secondary, errp));
}

/*
 * With checkpoints and without, in turns: what else the machine does changes too
 * slowly to tell the two apart.
 */
static bool take_turns(BenchRun *run, double *kept, Error **errp)
{
    int interval[] = { run->config->interval_ms, BENCH_LONG_INTERVAL_MS };
    /* Of a turn with and one without, so that there are as many of both */
    int pairs = MAX((int)run->effort->cost_s, 2);
    double rate, sum[] = { 0, 0 };

    for (int i = 0; i < 2 * pairs; i++) {
        /* Neither has a fixed place in a pair of turns */
        int which = (i + i / 2 + run->round) % 2;

        if (!bench_run_set_interval(run, interval[which], errp) ||
            !measure(run, TURN_SETTLE_S, TURN_S, &rate, errp)) {
            return false;
        }
        sum[which] += rate;
    }
    *kept = 100 * sum[0] / sum[1];
    return bench_run_set_interval(run, run->config->interval_ms, errp);
}

/* Each host has CPUs of its own meanwhile. */
static bool work_apart(BenchRun *run, const cpu_set_t host[2], Error **errp)
{
    double rate, kept;

    if (!confine(run, &host[0], &host[1], errp) ||
        !measure(run, SETTLE_S, run->effort->cost_s, &rate, errp)) {
        return false;
    }
    add(run, "work.apart", rate);
    if (bench_guest_is_pair(run->guest)) {
        if (!take_turns(run, &kept, errp)) {
            return false;
        }
        bench_run_add(run, "work.kept", kept);
    } else {
        bench_results_missing(run->results, "work.kept", run->variant,
                              "a guest alone makes no checkpoints");
    }
    return true;
}

static void lack_cpus(BenchRun *run)
{
    static const char *const metrics[] = { "work.apart", "work.kept" };

    for (int i = 0; i < ARRAY_SIZE(metrics); i++) {
        bench_results_missing(run->results, metrics[i], run->variant,
                              "needs two CPUs, one for each host");
    }
}

bool bench_run_work(BenchRun *run, Error **errp)
{
    cpu_set_t all, host[2];
    double rate;

    CPU_ZERO(&all);
    if (sched_getaffinity(0, sizeof(all), &all) < 0) {
        /* More of them than a set has bits */
        CPU_ZERO(&all);
    }
    if (!bench_guest_command(run->guest, "work 1", errp) ||
        !measure(run, SETTLE_S, run->effort->cost_s, &rate, errp)) {
        return false;
    }
    add(run, "work.idle", rate);
    if (!bench_cpus_halve(&all, host)) {
        lack_cpus(run);
    } else if (!work_apart(run, host, errp) || !confine(run, &all, &all, errp)) {
        return false;
    }
    return bench_guest_command(run->guest, "work 0", errp);
}
