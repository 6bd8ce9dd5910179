/*
 * COLO and the states of its guest
 *
 * Two QEMUs without an operating system, and a guest that is stopped, panics, shuts
 * down, is reset or finds its disk full, at any moment of a checkpoint.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-query.h"

/* A user's stop stays, over checkpoints and failover, until a user's cont. */
static void test_stop_stays(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    g_autofree char *status = NULL;

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_until(pair->p, "query-status", "status", "paused");
    /* The secondary's guest follows */
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    colo_query_checkpoint(pair);
    status = colo_side_ask(pair->p, "status", "{'execute': 'query-status'}");
    g_assert_cmpstr(status, ==, "paused");

    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_side_until(pair->s, "query-status", "status", "running");

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_until(pair->p, "query-status", "status", "paused");
    colo_side_kill(pair->s);
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-migrate", "status", "completed");
    g_free(status);
    status = colo_side_ask(pair->p, "status", "{'execute': 'query-status'}");
    g_assert_cmpstr(status, ==, "paused");
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

static void go_on(ColoPair *pair)
{
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

/* A guest that a user has stopped stands still on the survivor, too. */
static void test_stop_survives(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    g_autofree char *status = NULL;

    colo_query_checkpoint(pair);
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    /* Its guest follows the primary's, not this */
    colo_side_ok(pair->s, "{'execute': 'cont'}");
    status = colo_side_ask(pair->s, "status", "{'execute': 'query-status'}");
    g_assert_cmpstr(status, ==, "colo");
    colo_pair_take_over(pair, "paused");
    go_on(pair);
}

/* A "stop" that comes as soon as the secondary is asked to take over, or a bit later */
static void test_stop_survivor(void)
{
    for (int i = 0; i < 20; i++) {
        ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);

        colo_query_checkpoint(pair);
        colo_side_kill(pair->p);
        pair->p = pair->s;
        pair->s = NULL;
        /* The answer is not waited for */
        qobject_unref(colo_side_try(pair->p, 0,
                                    "{'execute': 'x-colo-lost-heartbeat'}"));
        g_usleep(i * 20);
        colo_side_ok(pair->p, "{'execute': 'stop'}");
        colo_side_until(pair->p, "query-migrate", "status", "completed");
        colo_side_until(pair->p, "query-status", "status", "paused");
        go_on(pair);
    }
}

/* "stop" and "cont" over and over, while the timer makes checkpoints */
static void test_stop_storm(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, 5);
    g_autofree char *status = NULL;

    for (int i = 0; i < 100; i++) {
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_side_ok(pair->p, "{'execute': 'stop'}");
        colo_side_until(pair->p, "query-status", "status", "paused");
    }
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    pair->delay_ms = 5;
    colo_pair_checkpoints(pair, 3);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* After a long pause the guest runs as long before the next one. */
static void make_long_pause(ColoPair *pair, int ms)
{
    int64_t epoch = colo_query_epoch(pair->p);

    colo_side_freeze(pair->s, true);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    g_usleep(ms * 1000);
    colo_side_freeze(pair->s, false);
    colo_query_await_epoch(pair->s, epoch + 1);
}

/*
 * Somebody's "stop" is waiting for a vCPU as a checkpoint becomes due: that has to
 * wait, too, for a guest that still runs is not of one piece.
 */
static void test_stop_meets_p(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    int64_t epoch;

    make_long_pause(pair, 1000);
    epoch = colo_query_epoch(pair->s);
    colo_side_freeze_vcpu(pair->p);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    g_assert_null(colo_side_try(pair->p, 3000, "{'execute': 'stop'}"));
    /* Nobody stands still for a checkpoint that can't begin yet */
    colo_side_until(pair->s, "query-status", "status", "running");
    g_assert_cmpint(colo_query_epoch(pair->s), ==, epoch);
    colo_side_thaw_vcpu(pair->p);
    colo_side_until(pair->p, "query-status", "status", "paused");
    colo_query_await_epoch(pair->s, epoch + 1);
    colo_pair_take_over(pair, "paused");
    go_on(pair);
}

static void test_stop_meets_s(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);

    colo_side_freeze_vcpu(pair->s);
    g_assert_null(colo_side_try(pair->s, 1000, "{'execute': 'stop'}"));
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    g_usleep(2000 * 1000);
    g_assert_cmpint(colo_query_epoch(pair->p), ==, 0);
    colo_side_thaw_vcpu(pair->s);
    colo_query_await_epoch(pair->s, 1);
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_take_over(pair, "running");
    go_on(pair);
}

/* Panicked guests, on either side, abort nothing. */
static void test_panic(void)
{
    const char *machine = "pc -device pvpanic -action panic=pause";
    ColoPair *pair = colo_pair_new(machine, COLO_NO_DISK, COLO_NO_TIMER);

    colo_pair_add_secondary(pair, "");
    colo_pair_replicate(pair);

    colo_guest_panic(pair->s);
    colo_side_until(pair->s, "query-status", "status", "guest-panicked");
    colo_query_checkpoint(pair);
    colo_side_until(pair->s, "query-status", "status", "running");

    colo_guest_panic(pair->p);
    colo_side_until(pair->p, "query-status", "status", "guest-panicked");
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    colo_side_until(pair->p, "query-status", "status", "guest-panicked");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

static ColoPair *start_with(const char *machine, int64_t delay_ms)
{
    ColoPair *pair = colo_pair_new(machine, COLO_NO_DISK, delay_ms);

    colo_pair_add_secondary(pair, "");
    colo_pair_replicate(pair);
    return pair;
}

/*
 * A guest that brings itself to an end is found so by its user, whenever that
 * happens: not one of these stops is lost in a checkpoint.
 */
static void stop_over_and_over(ColoPair *pair, ColoGuestAct *act,
                               const char *status)
{
    for (int i = 0; i < 40; i++) {
        act(pair->p);
        colo_side_until(pair->p, "query-status", "status", status);
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_side_until(pair->p, "query-status", "status", "running");
    }
    colo_pair_checkpoints(pair, 3);
}

static void test_panic_storm(void)
{
    ColoPair *pair = start_with("pc -device pvpanic -action panic=pause", 5);

    stop_over_and_over(pair, colo_guest_panic, "guest-panicked");
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

static void test_watchdog(void)
{
    ColoPair *pair = start_with("pc -device ib700 -action watchdog=pause", 5);

    stop_over_and_over(pair, colo_guest_watchdog, "watchdog");
    /* The secondary's is of no account */
    colo_guest_watchdog(pair->s);
    colo_pair_checkpoints(pair, 3);
    colo_pair_set_delay(pair, COLO_NO_TIMER);
    colo_guest_watchdog(pair->p);
    colo_side_until(pair->p, "query-status", "status", "watchdog");
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    colo_pair_take_over(pair, "paused");
    go_on(pair);
}

/* The guest turns itself off, and QEMU is to stay (-no-shutdown). */
static void test_shutdown(void)
{
    ColoPair *pair = start_with("pc -action shutdown=pause", 5);

    for (int i = 0; i < 20; i++) {
        colo_guest_power_off(pair->p);
        colo_side_until(pair->p, "query-status", "status", "shutdown");
        colo_side_ok(pair->p, "{'execute': 'system_reset'}");
        colo_side_until(pair->p, "query-status", "status", "prelaunch");
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_side_until(pair->p, "query-status", "status", "running");
    }
    colo_guest_power_off(pair->s);
    colo_pair_checkpoints(pair, 3);
    colo_pair_set_delay(pair, COLO_NO_TIMER);
    colo_guest_power_off(pair->p);
    colo_side_until(pair->p, "query-status", "status", "shutdown");
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    colo_pair_take_over(pair, "paused");
    colo_pair_free(pair);
}

/*
 * werror=stop, and a disk that is full once.  The primary's guest stands, and
 * keeps the request; so does the secondary, which tries it again.
 */
static void test_io_error(void)
{
    ColoPair *pair = start_with("pc " COLO_GUEST_FULL_DISK, COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_guest_write_full_disk(pair->p);
    colo_side_until(pair->p, "query-status", "status", "io-error");
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    colo_side_until(pair->p, "query-status", "status", "io-error");
    /* The survivor's disk may be well: it runs.  This one is full as well. */
    colo_pair_take_over(pair, "io-error");
    go_on(pair);
}

/* What the secondary was to try again is forgotten when the primary has */
static void test_io_error_over(void)
{
    ColoPair *pair = start_with("pc " COLO_GUEST_FULL_DISK, COLO_NO_TIMER);

    colo_guest_write_full_disk(pair->p);
    colo_side_until(pair->p, "query-status", "status", "io-error");
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_query_checkpoint(pair);
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_query_checkpoint(pair);
    colo_pair_take_over(pair, "running");
    /* So nothing has been written to this disk, which is full once, too */
    colo_guest_write_full_disk(pair->p);
    colo_side_until(pair->p, "query-status", "status", "io-error");
    go_on(pair);
}

/* The secondary's disk alone is full: its guest stands until the next checkpoint. */
static void test_io_error_s(void)
{
    ColoPair *pair = start_with("pc " COLO_GUEST_FULL_DISK, COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_guest_write_full_disk(pair->s);
    colo_side_until(pair->s, "query-status", "status", "io-error");
    colo_side_until(pair->s, "query-colo", "state", "protected");
    colo_query_checkpoint(pair);
    colo_side_until(pair->s, "query-status", "status", "running");
    g_assert_cmpuint(colo_side_count(pair->p, "BLOCK_IO_ERROR"), ==, 0);
    colo_query_checkpoint(pair);
    colo_pair_take_over(pair, "running");
    g_assert_cmpuint(colo_side_count(pair->p, "BLOCK_IO_ERROR"), ==, 1);
    go_on(pair);
}

/* So it does if the primary dies before that: what has failed is tried again. */
static void test_io_error_s_survives(void)
{
    ColoPair *pair = start_with("pc " COLO_GUEST_FULL_DISK, COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_query_settle(pair);
    colo_guest_write_full_disk(pair->s);
    colo_side_until(pair->s, "query-status", "status", "io-error");
    colo_pair_take_over(pair, "running");
    go_on(pair);
}

/*
 * The guest turns itself off, and QEMU ends with it, as it does by itself; @held: in the
 * middle of a checkpoint.
 */
static void power_off_primary(bool held)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    unsigned stops;

    colo_query_checkpoint(pair);
    colo_query_settle(pair);
    stops = colo_side_count(pair->p, "STOP");
    if (held) {
        colo_side_freeze(pair->s, true);
        colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
        colo_side_await(pair->p, "STOP", stops + 1, COLO_WAIT_MS);
    }
    colo_guest_power_off(pair->p);
    colo_side_await_end(pair->p);
    colo_side_freeze(pair->s, false);
    pair->p = pair->s;
    pair->s = NULL;
    colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    /* It goes on from the last checkpoint, at which that had not happened. */
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_guest_check(pair->p, pair->scratch);
    g_assert_cmpuint(colo_side_count(pair->p, "SHUTDOWN"), ==, 0);
    colo_pair_free(pair);
}

static void test_power_off_p(void)
{
    power_off_primary(false);
}

static void test_power_off_held(void)
{
    power_off_primary(true);
}

static void test_power_off_s(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_query_settle(pair);
    colo_guest_power_off(pair->s);
    colo_side_await_end(pair->s);
    pair->s = NULL;
    colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_guest_check(pair->p, pair->scratch);
    g_assert_cmpuint(colo_side_count(pair->p, "SHUTDOWN"), ==, 0);
    colo_pair_free(pair);
}

/* Resets while checkpoints are made */
static void test_reset(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, 5);

    for (int i = 0; i < 30; i++) {
        colo_side_ok(pair->p, "{'execute': 'system_reset'}");
        colo_side_ok(pair->s, "{'execute': 'system_reset'}");
    }
    colo_pair_checkpoints(pair, 3);
    /*
     * The counters of a guest that was reset don't agree with its registers,
     * so that colo_guest_check() can't be used.
     */
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_pair_free(pair);
}

static const ColoTestCase cases[] = {
    { "stop-stays", test_stop_stays },
    { "stop-survives", test_stop_survives },
    { "stop-survivor", test_stop_survivor },
    { "stop-storm", test_stop_storm },
    { "stop-meets/p", test_stop_meets_p },
    { "stop-meets/s", test_stop_meets_s },
    { "panic", test_panic },
    { "panic-storm", test_panic_storm },
    { "watchdog", test_watchdog },
    { "shutdown", test_shutdown },
    { "io-error", test_io_error },
    { "io-error-over", test_io_error_over },
    { "io-error-s", test_io_error_s },
    { "io-error-s-survives", test_io_error_s_survives },
    { "power-off/p", test_power_off_p },
    { "power-off/held", test_power_off_held },
    { "power-off/s", test_power_off_s },
    { "reset", test_reset },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-state", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
