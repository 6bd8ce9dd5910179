/*
 * Runner: what replication costs in CPU, RAM and bytes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-proc.h"
#include "bench-run.h"

#define CHANNEL_PORT 9998
#define SETTLE_S 1.0

/* Bytes of the migration channel at each checkpoint */
typedef struct Channel {
    BenchRun *run;
    const char *metric;
    uint64_t last;
    unsigned count;
} Channel;

static void channel_resumed(void *opaque)
{
    Channel *c = opaque;
    BenchBytes bytes;

    if (bench_socket_bytes(CHANNEL_PORT, &bytes, NULL) && bytes.sockets) {
        if (c->last) {
            bench_run_add(c->run, c->metric, (bytes.sent - c->last) / 1024.0);
            c->count++;
        }
        c->last = bytes.sent;
    }
}

/* Milliseconds for which the guest has stood still so far */
static double paused_ms(BenchRun *run)
{
    const GArray *spans = bench_guest_pauses(run->guest)->spans;
    double sum = 0;

    for (guint i = 0; i < spans->len; i++) {
        sum += bench_span_ms(&g_array_index(spans, BenchSpan, i));
    }
    return sum;
}

/* What it takes alone is the @limit for both sides of a pair. */
static bool add_cpu(BenchRun *run, const char *metric, const char *limit,
                    double before, pid_t pid, double guest_s, Error **errp)
{
    double now = bench_cpu_seconds(pid);

    if (before < 0 || now < 0 || guest_s <= 0) {
        error_setg(errp, "the CPU time of process %d cannot be read",
                   (int)pid);
        return false;
    }
    bench_run_add(run, metric, (now - before) / guest_s);
    if (limit) {
        bench_results_add(run->results, limit, BENCH_LIMIT, run->round,
                          (now - before) / guest_s);
    }
    return true;
}

static bool measure(BenchRun *run, const char *load, const char *channel,
                    Error **errp)
{
    bool pair = bench_guest_is_pair(run->guest);
    pid_t p = bench_guest_pid(run->guest, BENCH_PRIMARY);
    pid_t s = pair ? bench_guest_pid(run->guest, BENCH_SECONDARY) : -1;
    g_autofree char *p_metric = g_strdup_printf("cost.cpu.p.%s", load);
    g_autofree char *s_metric = g_strdup_printf("cost.cpu.s.%s", load);
    g_autofree char *limit = g_strdup_printf("limit.cpu.%s", load);
    double p_before = bench_cpu_seconds(p);
    double s_before = pair ? bench_cpu_seconds(s) : 0;
    double paused = paused_ms(run), guest_s;
    Channel c = { .run = run, .metric = channel };
    int64_t start = bench_now_ns();
    bool ok;

    bench_guest_on_resume(run->guest, pair ? channel_resumed : NULL, &c);
    ok = bench_guest_sleep(run->guest, run->effort->cost_s, errp);
    bench_guest_on_resume(run->guest, NULL, NULL);
    guest_s = (bench_now_ns() - start) / 1e9 - (paused_ms(run) - paused) / 1e3;
    if (ok && pair && !c.count) {
        error_setg(errp, "the migration channel (port %d) shows no bytes of "
                   "two checkpoints", CHANNEL_PORT);
        ok = false;
    }
    return ok && add_cpu(run, p_metric, pair ? NULL : limit, p_before, p,
                         guest_s, errp) &&
           (!pair || add_cpu(run, s_metric, NULL, s_before, s, guest_s, errp));
}

static bool measure_ram(BenchRun *run, Error **errp)
{
    double rss, pss;

    if (!bench_ram_mib(bench_guest_pid(run->guest, BENCH_SECONDARY), &rss,
                       &pss, errp)) {
        return false;
    }
    bench_run_add(run, "cost.ram.rss", rss);
    bench_run_add(run, "cost.ram.pss", pss);
    return true;
}

/* With the rate of memory load that was reached meanwhile */
static bool measure_loaded(BenchRun *run, Error **errp)
{
    uint64_t before, after;
    int64_t start;

    if (!bench_run_load(run, BENCH_COST_MB_PER_S, errp) ||
        !bench_guest_sleep(run->guest, SETTLE_S, errp) ||
        !bench_run_load_pages(run, &before, errp)) {
        return false;
    }
    start = bench_now_ns();
    if (!measure(run, "loaded", "cost.channel.bytes.loaded", errp) ||
        !bench_run_load_pages(run, &after, errp)) {
        return false;
    }
    bench_run_add(run, "load.cost",
                  bench_run_load_mb_per_s(after - before,
                                          bench_now_ns() - start));
    return true;
}

bool bench_run_cost(BenchRun *run, Error **errp)
{
    if (g_str_equal(run->part, "idle")) {
        return measure(run, "idle", "cost.channel.bytes", errp);
    }
    return measure_loaded(run, errp) &&
           (!bench_guest_is_pair(run->guest) || measure_ram(run, errp)) &&
           bench_run_load(run, 0, errp);
}
