/*
 * Runner: how much a guest gets done that only computes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-proc.h"
#include "bench-run.h"
#include "bench-vcpu.h"
#include "guest-proto.h"

#define SETTLE_S 1.0
#define MILLION 1e6

typedef struct Work {
    uint64_t rounds;
    int64_t ns;             /* when they were asked for */
    int64_t waited_us;      /* until then, by the vCPU, for a CPU */
} Work;

/*
 * The two guests differ in the answer, which waits for a checkpoint; the guest
 * reads its counter when it is asked.
 */
static bool look(BenchRun *run, BenchVcpus *vcpus, Work *work, Error **errp)
{
    g_autofree char *answer = NULL;

    work->ns = bench_now_ns();
    work->waited_us = bench_vcpus_waited_us(vcpus);
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

/* What the guest alone gets done is the limit. */
static void add(BenchRun *run, const char *metric, double rate)
{
    g_autofree char *limit = g_strdup_printf("limit.%s", metric);

    bench_run_add(run, metric, rate);
    if (!bench_guest_is_pair(run->guest)) {
        bench_results_add(run->results, limit, BENCH_LIMIT, run->round, rate);
    }
}

bool bench_run_work(BenchRun *run, Error **errp)
{
    g_autoptr(BenchVcpus) vcpus = bench_vcpus_new(run->guest, BENCH_PRIMARY, errp);
    Work before, after;
    double steps, seconds, waited;

    if (!vcpus || !bench_guest_command(run->guest, "work 1", errp) ||
        !bench_guest_sleep(run->guest, SETTLE_S, errp) ||
        !look(run, vcpus, &before, errp) ||
        !bench_guest_sleep(run->guest, run->effort->cost_s, errp) ||
        !look(run, vcpus, &after, errp) ||
        !bench_guest_command(run->guest, "work 0", errp)) {
        return false;
    }
    steps = (after.rounds - before.rounds) * GUEST_WORK_STEPS / MILLION;
    seconds = (after.ns - before.ns) / 1e9;
    waited = (after.waited_us - before.waited_us) / 1e6;
    add(run, "work.idle", steps / seconds);
    add(run, "work.idle.given", steps / (seconds - waited));
    return true;
}
