/*
 * Runners: how long checkpoints stop the guest, and how long a mismatch holds
 * its answer
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-client.h"
#include "bench-run.h"
#include "bench-tick.h"
#include "sandbox.h"

#define GUEST SANDBOX_GUEST_IP4
/* The guest's counter, watched from outside */
#define TICK_US 200
/* Of the first load; each has its own, lest a page from before be found */
#define TICK_NONCE 20260601
/* Under load the counter itself may be this late without a pause. */
#define GAP_US 1000
#define SLACK_US 2000
#define SETTLE_S 0.6
/* The longest pause that is waited for, and how often it is looked at */
#define PAUSE_S 30
#define POLL_S 0.005
/* Until the guest has certainly had a CPU again */
#define AFTER_S 0.05
/* Where the background disk load writes */
#define DISK_LOAD "disk-load 4096 8192 196608"
#define HOLD_MS (30 * 1000)

typedef struct PauseLoad {
    const char *name;      /* of the metric, after "pause." */
    unsigned mb_per_s;
    bool disk, net;
} PauseLoad;

static const PauseLoad loads[] = {
    { "idle" },
    { "30", .mb_per_s = 30 },
    { "100", .mb_per_s = 100 },
    { "200", .mb_per_s = 200 },
    { "disk", .disk = true },
    { "net", .net = true },
};

/* "pause.LOAD.WHAT"; free with g_free() */
static char *metric_of(const PauseLoad *load, const char *what)
{
    return g_strdup_printf("pause.%s.%s", load->name, what);
}

/* Whether the two figures of a pause are within their bound */
static bool agree(BenchRun *run, const PauseLoad *load, const BenchSpan *span,
                  const BenchSpan *seen, double usual_ms)
{
    double ms = bench_span_ms(span), held_ms = bench_span_held_ms(seen);
    double apart_ms = ABS(held_ms - ms);

    bench_run_add(run, "pause.disagreement", apart_ms);
    if (apart_ms <= bench_pause_bound_ms(ms, TICK_US / 1e3) + usual_ms) {
        return true;
    }
    timeline_event(run->timeline, "apart", "   pause.%s: %.2f ms by "
                   "the events, %.2f ms from outside, of which the vCPU "
                   "was awake for %.2f ms: further apart than their "
                   "bound (and %.2f ms)", load->name, ms, bench_span_ms(seen),
                   bench_span_ms(seen) - held_ms, usual_ms);
    return false;
}

/* Of @gaps, what belongs to the pauses since number @from, and what does not */
static void add_outside(BenchRun *run, const PauseLoad *load, guint from,
                        const GArray *gaps)
{
    g_autofree char *outside = metric_of(load, "outside");
    g_autofree char *agreement = metric_of(load, "agreement");
    g_autofree char *unannounced = metric_of(load, "unannounced");
    const GArray *spans = bench_guest_pauses(run->guest)->spans;
    double usual_ms = bench_gaps_usual_ms(gaps, spans, SLACK_US);
    guint count = 0, within = 0;

    for (guint i = from; i < spans->len; i++) {
        const BenchSpan *span = &g_array_index(spans, BenchSpan, i);
        const BenchSpan *seen = bench_span_overlap(gaps, span, SLACK_US);
        static const BenchSpan nothing;

        /* One that is not even GAP_US long cannot be seen. */
        if (seen) {
            bench_run_add(run, outside, bench_span_ms(seen));
        }
        if (seen || bench_span_ms(span) > GAP_US / 1e3) {
            within += agree(run, load, span, seen ?: &nothing, usual_ms);
            count++;
        }
    }
    bench_run_add(run, unannounced,
                  bench_gaps_longest_ms(gaps, spans, SLACK_US));
    if (count) {
        bench_run_add(run, agreement, 100.0 * within / count);
    }
}

/* What QEMU said, and what was seen if @gaps is not NULL, since number @from */
static bool add_pauses(BenchRun *run, const PauseLoad *load, guint from,
                       const GArray *gaps, Error **errp)
{
    g_autofree char *inside = g_strdup_printf("pause.%s", load->name);
    const GArray *spans = bench_guest_pauses(run->guest)->spans;

    if (from == spans->len) {
        error_setg(errp, "no checkpoint while the load was %s", load->name);
        return false;
    }
    for (guint i = from; i < spans->len; i++) {
        bench_run_add(run, inside,
                      bench_span_ms(&g_array_index(spans, BenchSpan, i)));
    }
    if (gaps) {
        add_outside(run, load, from, gaps);
    }
    return true;
}

/* A pause that has begun counts: the longest would be the first to be cut. */
static bool end_of_pause(BenchRun *run, Error **errp)
{
    for (int i = 0; i < PAUSE_S / POLL_S; i++) {
        if (!bench_guest_pauses(run->guest)->stopped_us) {
            return true;
        }
        if (!bench_guest_sleep(run->guest, POLL_S, errp)) {
            return false;
        }
    }
    error_setg(errp, "a pause has lasted for more than %d s", PAUSE_S);
    return false;
}

/*
 * Where the kernel does not tell what the vCPUs did, a gap cannot be told from
 * a vCPU that waits for its turn: only QEMU's events are left.
 */
static BenchVcpus *watch_vcpus(BenchRun *run)
{
    Error *err = NULL;
    BenchVcpus *vcpus = bench_vcpus_new(run->guest, BENCH_PRIMARY, &err);

    if (!vcpus) {
        timeline_event(run->timeline, "inside", "   pauses only by QEMU's "
                       "events: %s", error_get_pretty(err));
        error_free(err);
    }
    return vcpus;
}

static bool watch(BenchRun *run, const PauseLoad *load, Error **errp)
{
    double seconds = run->effort->pause_s;
    g_autoptr(GArray) gaps = g_array_new(false, false, sizeof(BenchSpan));
    BenchTick tick = {
        .pid = bench_guest_pid(run->guest, BENCH_PRIMARY),
        .nonce = TICK_NONCE + (load - loads), .memory_mib = run->config->memory_mib,
        .period_us = TICK_US, .gap_us = GAP_US, .gaps = gaps,
    };
    g_autoptr(BenchVcpus) vcpus = watch_vcpus(run);
    BenchWork *work;
    guint from;
    bool ok, ticked;

    tick.vcpus = vcpus;
    work = bench_work_start(bench_tick_watch, &tick,
                            (seconds + 2 * PAUSE_S) * 1000);
    /* It has to find the page first. */
    ok = bench_guest_sleep(run->guest, SETTLE_S, errp);
    from = bench_guest_pauses(run->guest)->spans->len;
    ok = ok && bench_guest_sleep(run->guest, seconds, errp) &&
         end_of_pause(run, errp) &&
         /* A gap is one once the guest has counted again. */
         bench_guest_sleep(run->guest, AFTER_S, errp);
    bench_work_stop(work);
    ticked = bench_work_finish(work, ok ? errp : NULL);
    return ok && ticked &&
           add_pauses(run, load, from, vcpus ? gaps : NULL, errp);
}

/* The rate of memory load that was reached is part of the result. */
static bool watch_dirty(BenchRun *run, const PauseLoad *load, Error **errp)
{
    g_autofree char *metric = g_strdup_printf("load.%u", load->mb_per_s);
    uint64_t before, after;
    int64_t start;

    if (!bench_run_load(run, load->mb_per_s, errp) ||
        !bench_guest_sleep(run->guest, SETTLE_S, errp) ||
        !bench_run_load_pages(run, &before, errp)) {
        return false;
    }
    start = bench_now_ns();
    if (!watch(run, load, errp) || !bench_run_load_pages(run, &after, errp)) {
        return false;
    }
    bench_run_add(run, metric,
                  bench_run_load_mb_per_s(after - before,
                                          bench_now_ns() - start));
    return bench_run_load(run, 0, errp);
}

static bool watch_disk(BenchRun *run, const PauseLoad *load, Error **errp)
{
    return bench_guest_command(run->guest, DISK_LOAD, errp) &&
           watch(run, load, errp) &&
           bench_guest_command(run->guest, "disk-load 0 0 0", errp);
}

static bool watch_net(BenchRun *run, const PauseLoad *load, Error **errp)
{
    BenchTransfer transfer = { .address = GUEST };
    BenchWork *work = bench_work_start(bench_client_transfer, &transfer,
                                       (run->effort->pause_s + 2 * PAUSE_S) *
                                       1000);
    bool ok = bench_guest_sleep(run->guest, SETTLE_S, errp) &&
              watch(run, load, errp);

    bench_work_stop(work);
    return bench_work_finish(work, ok ? errp : NULL) && ok;
}

static const PauseLoad *find_load(const char *name)
{
    for (int i = 0; i < ARRAY_SIZE(loads); i++) {
        if (g_str_equal(loads[i].name, name)) {
            return &loads[i];
        }
    }
    g_assert_not_reached();
}

bool bench_run_pause(BenchRun *run, Error **errp)
{
    const PauseLoad *load = find_load(run->part);
    g_autofree char *tick = g_strdup_printf("tick %d %d", TICK_US,
                                            TICK_NONCE + (int)(load - loads));

    return bench_guest_command(run->guest, tick, errp) &&
           (load->mb_per_s ? watch_dirty(run, load, errp)
            : load->disk ? watch_disk(run, load, errp)
            : load->net ? watch_net(run, load, errp)
            : watch(run, load, errp)) &&
           bench_guest_command(run->guest, "tick 0 0", errp);
}

/*
 * "differ" is answered differently by the two, "ping" equally; what the
 * first takes longer is the hold, as the client sees it.
 */
bool bench_run_hold(BenchRun *run, Error **errp)
{
    g_autoptr(GArray) pings = g_array_new(false, false, sizeof(double));
    g_autoptr(GArray) differs = g_array_new(false, false, sizeof(double));
    BenchConnect ping = {
        .address = GUEST, .command = "ping", .count = 20, .ms = pings,
    };
    BenchConnect differ = {
        .address = GUEST, .command = "differ", .count = 1, .ms = differs,
    };
    bool ok = bench_run_set_interval(run, BENCH_LONG_INTERVAL_MS, errp) &&
              bench_guest_sleep(run->guest, SETTLE_S, errp) &&
              bench_guest_work(run->guest, bench_client_connect, &ping,
                               HOLD_MS, errp);

    for (unsigned i = 0; ok && i < run->effort->holds; i++) {
        /* Not in the wake of the last one */
        ok = bench_guest_sleep(run->guest, 0.1, errp) &&
             bench_guest_work(run->guest, bench_client_connect, &differ,
                              HOLD_MS, errp);
    }
    if (!ok) {
        return false;
    }
    for (guint i = 0; i < differs->len; i++) {
        bench_run_add(run, "hold", MAX(0, g_array_index(differs, double, i) -
                                       bench_median(pings)));
    }
    return bench_run_set_interval(run, run->config->interval_ms, errp);
}
