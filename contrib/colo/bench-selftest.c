/*
 * Does the bench find what it is given?
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-client.h"
#include "bench-relay.h"
#include "bench-run.h"
#include "bench-selftest.h"
#include "bench-tick.h"
#include "guest-proto.h"
#include "sandbox.h"

#define GUEST SANDBOX_GUEST_IP4
#define TICK_US 200
#define TICK_NONCE 77
#define GAP_US 1000
#define SLACK_US 2000
#define WORK_MS (60 * 1000)
#define ECHO_S 0.5
/* Of each pause; odd */
#define TRIES 5
/* The relay's timers, and two more programs on the way */
#define DELAY_LATE_MS 1.5
#define DELAY_PART 0.1

static const double pauses_ms[] = { 5, 20, 60, 150 };
static const double delays_ms[] = { 2, 10 };

/* The guest has certainly stood still for @least, and for no more than @most. */
typedef struct Known {
    double least_ms, most_ms;
} Known;

static bool stop_for(BenchGuest *guest, double ms, Known *known, Error **errp)
{
    int64_t asked = bench_now_ns(), stopped;

    if (!bench_guest_qmp(guest, BENCH_PRIMARY, "{'execute': 'stop'}", errp)) {
        return false;
    }
    stopped = bench_now_ns();
    if (!bench_guest_sleep(guest, ms / 1e3, errp)) {
        return false;
    }
    known->least_ms = (bench_now_ns() - stopped) / 1e6;
    if (!bench_guest_qmp(guest, BENCH_PRIMARY, "{'execute': 'cont'}", errp)) {
        return false;
    }
    known->most_ms = (bench_now_ns() - asked) / 1e6;
    return bench_guest_sleep(guest, 0.1, errp);
}

/*
 * A pause that is found shorter than it was is an error.  One that is found
 * longer is not close: a busy machine lets the guest wait for its CPU.
 */
static bool check_pause(Timeline *timeline, const Known *known,
                        const BenchSpan *inside, const GArray *gaps,
                        bool *close, Error **errp)
{
    const BenchSpan *outside = bench_span_overlap(gaps, inside, SLACK_US);
    double in_ms = bench_span_ms(inside);
    double out_ms = outside ? bench_span_held_ms(outside) : 0;
    double bound = bench_pause_bound_ms(known->most_ms, TICK_US / 1e3);

    timeline_event(timeline, "pause", "   stopped for %.2f to %.2f ms: QEMU "
                   "says %.2f, seen from outside %.2f (bound %.2f)",
                   known->least_ms, known->most_ms, in_ms, out_ms, bound);
    if (MIN(in_ms, out_ms) < known->least_ms - bound) {
        error_setg(errp, "a pause of %.2f to %.2f ms was found as %.2f ms by "
                   "QEMU's events and %.2f ms from outside: shorter by more "
                   "than %.2f ms", known->least_ms, known->most_ms, in_ms,
                   out_ms, bound);
        return false;
    }
    /* What STOP and RESUME themselves took, either of the two may have seen. */
    *close = ABS(in_ms - out_ms) <= bound + known->most_ms - known->least_ms &&
             MAX(in_ms, out_ms) <= known->most_ms + bound;
    return true;
}

/*
 * All tries of one length; the median of them is found as it was.  A busy
 * machine may spoil the others.
 */
static bool check_tries(Timeline *timeline, const Known *known,
                        const BenchSpan *inside, const GArray *gaps,
                        Error **errp)
{
    unsigned found = 0;

    for (int i = 0; i < TRIES; i++) {
        bool close;

        if (!check_pause(timeline, &known[i], &inside[i], gaps, &close,
                         errp)) {
            return false;
        }
        found += close;
    }
    if (found <= TRIES / 2) {
        error_setg(errp, "of %d pauses of %.2f ms and more only %u were found "
                   "as they were; the others longer, or inside and outside "
                   "further apart, than their bounds: is the machine busy?",
                   TRIES, known->least_ms, found);
        return false;
    }
    return true;
}

static bool test_pauses(BenchGuest *guest, const ScenarioConfig *config,
                        Timeline *timeline, Error **errp)
{
    g_autofree char *command = g_strdup_printf("tick %d %d", TICK_US,
                                               TICK_NONCE);
    g_autoptr(GArray) gaps = g_array_new(false, false, sizeof(BenchSpan));
    const GArray *spans = bench_guest_pauses(guest)->spans;
    BenchTick tick = {
        .pid = bench_guest_pid(guest, BENCH_PRIMARY), .nonce = TICK_NONCE,
        .memory_mib = config->memory_mib, .period_us = TICK_US,
        .gap_us = GAP_US, .gaps = gaps,
    };
    g_autoptr(BenchVcpus) vcpus = bench_vcpus_new(guest, BENCH_PRIMARY, errp);
    Known known[ARRAY_SIZE(pauses_ms) * TRIES];
    guint from = spans->len;
    BenchWork *work;
    bool ok, ticked;

    if (!vcpus || !bench_guest_command(guest, command, errp)) {
        return false;
    }
    tick.vcpus = vcpus;
    work = bench_work_start(bench_tick_watch, &tick, WORK_MS);
    ok = bench_guest_sleep(guest, 1, errp);
    for (int i = 0; ok && i < ARRAY_SIZE(known); i++) {
        ok = stop_for(guest, pauses_ms[i / TRIES], &known[i], errp);
    }
    bench_work_stop(work);
    ticked = bench_work_finish(work, ok ? errp : NULL);
    if (!ok || !ticked) {
        return false;
    }
    if (spans->len != from + ARRAY_SIZE(known)) {
        error_setg(errp, "%u pauses were seen instead of %zu",
                   spans->len - from, ARRAY_SIZE(known));
        return false;
    }
    for (int i = 0; ok && i < ARRAY_SIZE(known); i += TRIES) {
        ok = check_tries(timeline, &known[i],
                         &g_array_index(spans, BenchSpan, from + i), gaps,
                         errp);
    }
    return ok && bench_guest_command(guest, "tick 0 0", errp);
}

/* The least of them; a busy machine's scheduler can only add to that. */
static double least(const GArray *values)
{
    double min = INFINITY;

    for (guint i = 0; i < values->len; i++) {
        min = MIN(min, g_array_index(values, double, i));
    }
    return min;
}

static bool echo_least(BenchGuest *guest, const char *address, uint16_t port,
                       double *ms_least, Error **errp)
{
    g_autoptr(GArray) ms = g_array_new(false, false, sizeof(double));
    BenchEcho echo = {
        .address = address, .port = port, .size = 64, .seconds = ECHO_S,
        .ms = ms,
    };

    if (!bench_guest_work(guest, bench_client_echo, &echo, WORK_MS, errp)) {
        return false;
    }
    *ms_least = least(ms);
    return true;
}

static bool test_delay(BenchGuest *guest, Timeline *timeline, double delay_ms,
                       Error **errp)
{
    g_autoptr(GArray) held_ms = g_array_new(false, false, sizeof(double));
    BenchRelay relay = {
        .address = GUEST, .to_port = GUEST_ECHO_PORT, .delay_ms = delay_ms,
        .held_ms = held_ms,
    };
    double bound = DELAY_LATE_MS + DELAY_PART * 2 * delay_ms;
    double without, with, held;
    BenchWork *work;
    bool ok, relayed;

    if (!echo_least(guest, GUEST, GUEST_ECHO_PORT, &without, errp) ||
        !bench_relay_open(&relay, errp)) {
        return false;
    }
    work = bench_work_start(bench_relay_work, &relay, WORK_MS);
    ok = echo_least(guest, "127.0.0.1", relay.port, &with, errp);
    bench_work_stop(work);
    relayed = bench_work_finish(work, ok ? errp : NULL);
    bench_relay_close(&relay);
    if (!ok || !relayed) {
        return false;
    }
    held = least(held_ms);
    timeline_event(timeline, "delay", "   delayed by %.2f ms each way: round "
                   "trip %.3f ms instead of %.3f (bound %.2f)", held, with,
                   without, bound);
    if (held < delay_ms || ABS(with - without - 2 * held) > bound) {
        error_setg(errp, "a delay of 2 x %.2f ms was found as %.3f ms: further "
                   "away than %.2f ms", held, with - without, bound);
        return false;
    }
    return true;
}

bool bench_selftest(BenchGuest *guest, const ScenarioConfig *config,
                    Timeline *timeline, Error **errp)
{
    bool ok = test_pauses(guest, config, timeline, errp);

    for (int i = 0; ok && i < ARRAY_SIZE(delays_ms); i++) {
        ok = test_delay(guest, timeline, delays_ms[i], errp);
    }
    return ok;
}
