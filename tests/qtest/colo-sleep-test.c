/*
 * COLO and a guest that sleeps, in ACPI S3
 *
 * Two QEMUs without an operating system.  To wake up is to be reset, after which
 * the guest begins anew.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-query.h"
#include "colo-sleep-rig.h"

static void go_on(ColoPair *pair)
{
    colo_sleep_wake_up(pair->p);
    colo_sleep_expect_counting(pair);
    /* Nothing else holds it */
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_until(pair->p, "query-status", "status", "paused");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_sleep_expect_counting(pair);
    colo_pair_free(pair);
}

/* Asleep and awake again, while the timer makes checkpoints; both sides */
static void test_storm(void)
{
    ColoPair *pair = colo_sleep_start(5);

    for (int i = 0; i < 20; i++) {
        colo_guest_sleep(pair->p);
        colo_side_until(pair->p, "query-status", "status", "suspended");
        colo_side_ok(pair->p, "{'execute': 'stop'}");
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_guest_sleep(pair->s);
        colo_side_until(pair->p, "query-status", "status", "suspended");
        colo_sleep_wake_up(pair->p);
    }
    colo_pair_checkpoints(pair, 3);
    colo_pair_take_over(pair, "running");
    colo_sleep_expect_counting(pair);
    colo_pair_free(pair);
}

/* The secondary is told at once, of both; its guest stands still meanwhile. */
static void test_told(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_guest_sleep(pair->p);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    colo_query_await_count(pair->p, "guest", 1);
    colo_side_until(pair->s, "query-status", "status", "suspended");
    colo_sleep_wake_up(pair->p);
    colo_query_await_count(pair->p, "guest", 2);
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_take_over(pair, "running");
    colo_sleep_expect_counting(pair);
    colo_pair_free(pair);
}

/* The primary's sleeps when that dies: the survivor's does, and can be woken up. */
static void test_survives(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_guest_sleep(pair->p);
    colo_query_await_count(pair->p, "guest", 1);
    colo_query_await_epoch(pair->s, 1);
    colo_query_checkpoint(pair);
    colo_query_await_epoch(pair->s, 2);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    /* Nobody can run it there */
    colo_side_ok(pair->s, "{'execute': 'cont'}");
    g_assert(colo_sleep_is(pair->s, "suspended"));
    colo_pair_take_over(pair, "suspended");
    colo_side_await(pair->p, "SUSPEND", 1, COLO_WAIT_MS);
    go_on(pair);
}

/* Only the secondary's has fallen asleep, since the last checkpoint. */
static void test_survives_ahead(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_query_await_epoch(pair->s, 1);
    colo_guest_sleep(pair->s);
    colo_side_until(pair->s, "query-status", "status", "suspended");
    colo_pair_take_over(pair, "suspended");
    go_on(pair);
}

/* ... and the next checkpoint, of a primary's that is awake, undoes it. */
static void test_ahead_undone(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_guest_sleep(pair->s);
    colo_side_until(pair->s, "query-status", "status", "suspended");
    colo_query_checkpoint(pair);
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* The secondary dies; nothing changes for the guest, which can be protected anew. */
static void test_primary_survives(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_guest_sleep(pair->p);
    colo_query_await_count(pair->p, "guest", 1);
    colo_side_kill(pair->s);
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "suspended");
    colo_side_until(pair->p, "query-migrate", "status", "completed");
    /* The end of the migration wakes it up; nobody but that asks for a checkpoint */
    colo_pair_protect(pair);
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_query_await_count(pair->p, "guest", 1);
    colo_query_await_epoch(pair->s, 1);
    colo_pair_take_over(pair, "running");
    colo_sleep_expect_counting(pair);
    colo_pair_free(pair);
}

/*
 * The guest's clock runs while it sleeps.  It stands still in a checkpoint and until
 * somebody takes over, and does not jump from one host's time to the other's.
 */
static void test_clock(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);
    int64_t real_ns, before, asleep, after;

    colo_sleep_start_clock(pair->p);
    real_ns = g_get_monotonic_time() * 1000;
    before = colo_sleep_clock_ns(pair->p);
    colo_guest_sleep(pair->p);
    colo_query_await_count(pair->p, "guest", 1);
    asleep = colo_sleep_await_tick(pair->p);
    g_assert_cmpint(asleep, >, before);
    colo_query_checkpoint(pair);
    colo_query_await_epoch(pair->s, 2);
    colo_pair_take_over(pair, "suspended");
    after = colo_sleep_clock_ns(pair->p);
    real_ns = g_get_monotonic_time() * 1000 - real_ns;
    g_test_message("the guest's clock has gone on by %" PRId64 " ms, the world's "
                   "by %" PRId64, (after - before) / 1000000, real_ns / 1000000);
    g_assert_cmpint(after, >, asleep);
    g_assert_cmpint(after - before, <=, real_ns);
    colo_sleep_await_tick(pair->p);
    go_on(pair);
}

static const ColoTestCase cases[] = {
    { "storm", test_storm },
    { "told", test_told },
    { "survives", test_survives },
    { "survives-ahead", test_survives_ahead },
    { "ahead-undone", test_ahead_undone },
    { "primary-survives", test_primary_survives },
    { "clock", test_clock },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-sleep", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
