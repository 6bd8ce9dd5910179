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
#include "qemu/bswap.h"
#include "colo-guest.h"
#include "colo-query.h"

/* A counter of the guest's clock, 10 ns a step, which a reset sets to 0 */
#define HPET_CONFIG 0xfed00010
#define HPET_COUNTER 0xfed000f0
#define HPET_STEP_NS 10

static ColoPair *start(int64_t delay_ms)
{
    return colo_pair_start(COLO_NO_DISK, delay_ms);
}

static bool side_is(ColoSide *side, const char *wanted)
{
    g_autofree char *status = colo_side_ask(side, "status",
                                            "{'execute': 'query-status'}");

    return g_str_equal(status, wanted);
}

/* Until it runs; an error where it is held for a checkpoint just then */
static void wake_up(ColoSide *side)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    do {
        QDict *answer = colo_side_try(side, COLO_ANSWER_MS,
                                      "{'execute': 'system_wakeup'}");

        g_assert_nonnull(answer);
        qobject_unref(answer);
        if (g_get_monotonic_time() > end) {
            colo_fail("the guest does not wake up");
        }
        g_usleep(1000);
    } while (!side_is(side, "running"));
}

/* The survivor's guest, awake, counts; its numbers are of two lives. */
static void expect_counting(ColoPair *pair)
{
    uint64_t first = 0x10000;
    uint32_t before, after;
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    before = colo_side_read_u32(pair->p, first);
    do {
        after = colo_side_read_u32(pair->p, first);
        if (g_get_monotonic_time() > end) {
            colo_fail("the guest stands still");
        }
    } while (after == before);
}

static void go_on(ColoPair *pair)
{
    wake_up(pair->p);
    expect_counting(pair);
    /* Nothing else holds it */
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_until(pair->p, "query-status", "status", "paused");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    expect_counting(pair);
    colo_pair_free(pair);
}

/* Asleep and awake again, while the timer makes checkpoints; both sides */
static void test_storm(void)
{
    ColoPair *pair = start(5);

    for (int i = 0; i < 20; i++) {
        colo_guest_sleep(pair->p);
        colo_side_until(pair->p, "query-status", "status", "suspended");
        colo_side_ok(pair->p, "{'execute': 'stop'}");
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_guest_sleep(pair->s);
        colo_side_until(pair->p, "query-status", "status", "suspended");
        wake_up(pair->p);
    }
    colo_pair_checkpoints(pair, 3);
    colo_pair_take_over(pair, "running");
    expect_counting(pair);
    colo_pair_free(pair);
}

/* The secondary is told at once, of both; its guest stands still meanwhile. */
static void test_told(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

    colo_query_checkpoint(pair);
    colo_guest_sleep(pair->p);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    colo_query_await_count(pair->p, "guest", 1);
    colo_side_until(pair->s, "query-status", "status", "colo");
    wake_up(pair->p);
    colo_query_await_count(pair->p, "guest", 2);
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_take_over(pair, "running");
    expect_counting(pair);
    colo_pair_free(pair);
}

/* The primary's sleeps when that dies: the survivor's does, and can be woken up. */
static void test_survives(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

    colo_guest_sleep(pair->p);
    colo_query_await_count(pair->p, "guest", 1);
    colo_query_await_epoch(pair->s, 1);
    colo_query_checkpoint(pair);
    colo_query_await_epoch(pair->s, 2);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    /* Nobody can run it there */
    colo_side_ok(pair->s, "{'execute': 'cont'}");
    g_assert(side_is(pair->s, "colo"));
    colo_pair_take_over(pair, "suspended");
    colo_side_await(pair->p, "SUSPEND", 1, COLO_WAIT_MS);
    go_on(pair);
}

/* Only the secondary's has fallen asleep, since the last checkpoint. */
static void test_survives_ahead(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);

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
    ColoPair *pair = start(COLO_NO_TIMER);

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
    ColoPair *pair = start(COLO_NO_TIMER);

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
    expect_counting(pair);
    colo_pair_free(pair);
}

static int64_t clock_ns(ColoSide *side)
{
    uint64_t low = colo_side_read_u32(side, HPET_COUNTER);
    uint64_t high = colo_side_read_u32(side, HPET_COUNTER + 4);

    return (int64_t)(high << 32 | low) * HPET_STEP_NS;
}

/* It runs, but perhaps not at this instant, because of a checkpoint. */
static int64_t await_tick(ColoSide *side)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    int64_t before = clock_ns(side), now;

    while ((now = clock_ns(side)) == before) {
        if (g_get_monotonic_time() > end) {
            colo_fail("the guest's clock stands still");
        }
    }
    return now;
}

/*
 * The guest's clock runs while it sleeps.  It stands still in a checkpoint and until
 * somebody takes over, and does not jump from one host's time to the other's.
 */
static void test_clock(void)
{
    ColoPair *pair = start(COLO_NO_TIMER);
    uint8_t on[4] = { 1 };
    int64_t real_ns, before, asleep, after;

    colo_side_write(pair->p, HPET_CONFIG, on, sizeof(on));
    real_ns = g_get_monotonic_time() * 1000;
    before = clock_ns(pair->p);
    colo_guest_sleep(pair->p);
    colo_query_await_count(pair->p, "guest", 1);
    asleep = await_tick(pair->p);
    g_assert_cmpint(asleep, >, before);
    colo_query_checkpoint(pair);
    colo_query_await_epoch(pair->s, 2);
    colo_pair_take_over(pair, "suspended");
    after = clock_ns(pair->p);
    real_ns = g_get_monotonic_time() * 1000 - real_ns;
    g_test_message("the guest's clock has gone on by %" PRId64 " ms, the world's "
                   "by %" PRId64, (after - before) / 1000000, real_ns / 1000000);
    g_assert_cmpint(after, >, asleep);
    g_assert_cmpint(after - before, <=, real_ns);
    await_tick(pair->p);
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
