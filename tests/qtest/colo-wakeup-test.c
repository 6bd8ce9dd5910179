/*
 * COLO and a guest that is woken up, or falls asleep, at a bad moment
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

/* The primary's guest sleeps, and a checkpoint holds it for long. */
static void await_hold(ColoSide *side)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    int64_t before;

    do {
        if (g_get_monotonic_time() > end) {
            colo_fail("no checkpoint holds the guest");
        }
        before = colo_sleep_clock_ns(side);
        g_usleep(20 * 1000);
    } while (colo_sleep_clock_ns(side) != before);
}

static void expect_registers(ColoSide *side, const char *part)
{
    g_autofree char *text = colo_side_hmp_says(side, "info registers");

    if (!strstr(text, part)) {
        colo_fail("the registers are not as after a reset, %s: %s", part, text);
    }
}

/* It was reset, and not one instruction has been executed since. */
static void expect_reset(ColoSide *side, const char *status)
{
    for (int i = 0; i < 20; i++) {
        expect_registers(side, "EIP=0000fff0");
        expect_registers(side, "CS =f000 ffff0000");
        g_assert(colo_sleep_is(side, status));
        g_usleep(1000);
    }
}

/* A pair whose next checkpoint lasts, as the secondary waits for its vCPU in it */
static ColoPair *start_slow(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_side_ok(pair->p, "{'execute': 'x-colo-set-peer-timeout', 'arguments': "
                 "{'timeout': 60000}}");
    colo_side_freeze_vcpu(pair->s);
    return pair;
}

/* The primary's guest falls asleep, which is told to the secondary by a checkpoint. */
static void sleep_and_hold(ColoPair *pair)
{
    colo_sleep_start_clock(pair->p);
    colo_guest_sleep(pair->p);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    await_hold(pair->p);
    if (!colo_sleep_is(pair->p, "suspended")) {
        colo_fail("it does not sleep, as it should");
    }
}

/* It falls asleep as a checkpoint holds it. */
static void hold_and_sleep(ColoPair *pair)
{
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_side_until(pair->p, "query-status", "status", "colo");
    colo_guest_sleep(pair->p);
    colo_side_until(pair->p, "query-status", "status", "suspended");
}

static void wake_up_held(ColoSide *side)
{
    colo_side_ok(side, "{'execute': 'system_wakeup'}");
    colo_side_await(side, "WAKEUP", 1, COLO_WAIT_MS);
    expect_reset(side, "colo");
}

/* After the checkpoint both sides' guests run, or do when P's is told so. */
static void end_hold(ColoPair *pair, const char *status)
{
    int64_t asked = colo_query_count(pair->p, "guest");

    colo_side_thaw_vcpu(pair->s);
    colo_side_until(pair->p, "query-status", "status", status);
    if (!g_str_equal(status, "running")) {
        expect_reset(pair->p, status);
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_side_until(pair->p, "query-status", "status", "running");
    }
    colo_sleep_expect_counting(pair);
    colo_query_await_count(pair->p, "guest", asked + 1);
    colo_side_until(pair->s, "query-status", "status", "running");
    colo_pair_take_over(pair, "running");
    colo_sleep_expect_counting(pair);
    colo_pair_free(pair);
}

/* Woken up in a checkpoint: it is, and runs after that. */
static void test_woken_in_hold(void)
{
    ColoPair *pair = start_slow();

    sleep_and_hold(pair);
    wake_up_held(pair->p);
    end_hold(pair, "running");
}

static void test_woken_and_stopped(void)
{
    ColoPair *pair = start_slow();

    sleep_and_hold(pair);
    wake_up_held(pair->p);
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    end_hold(pair, "paused");
}

static void test_asleep_in_hold(void)
{
    ColoPair *pair = start_slow();

    hold_and_sleep(pair);
    wake_up_held(pair->p);
    end_hold(pair, "running");
}

static void test_alarm_in_hold(void)
{
    ColoPair *pair = start_slow();

    colo_guest_set_alarm(pair->p, 9);
    sleep_and_hold(pair);
    colo_side_await(pair->p, "WAKEUP", 1, COLO_WAIT_MS);
    expect_reset(pair->p, "colo");
    end_hold(pair, "running");
}

/* P is dead, and the survivor's guest woken up before it takes over: by an alarm? */
static void wake_survivor(bool alarm)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    if (alarm) {
        colo_guest_set_alarm(pair->p, 9);
    }
    colo_guest_sleep(pair->p);
    colo_side_until(pair->s, "query-status", "status", "suspended");
    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    if (alarm) {
        colo_side_await(pair->p, "WAKEUP", 1, COLO_WAIT_MS);
        expect_reset(pair->p, "colo");
    } else {
        wake_up_held(pair->p);
    }
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_sleep_expect_counting(pair);
    g_assert_cmpint(colo_side_count(pair->p, "SUSPEND"), ==, 0);
    colo_pair_free(pair);
}

static void test_woken_survivor(void)
{
    wake_survivor(false);
}

static void test_alarm_of_survivor(void)
{
    wake_survivor(true);
}

/* The same when it has taken over: the alarm is in what it got from the primary. */
static void test_alarm_after(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    colo_guest_set_alarm(pair->p, 9);
    colo_guest_sleep(pair->p);
    colo_side_until(pair->s, "query-status", "status", "suspended");
    colo_pair_take_over(pair, "suspended");
    colo_side_await(pair->p, "WAKEUP", 1, COLO_WAIT_MS);
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_sleep_expect_counting(pair);
    colo_pair_free(pair);
}

/* Stopped before it falls asleep, which it had asked for: woken up it is "paused". */
static void test_stopped_before(void)
{
    ColoPair *pair = colo_sleep_start(COLO_NO_TIMER);

    for (int i = 0; i < 2; i++) {
        colo_side_ok(pair->p, "{'execute': 'stop'}");
        colo_side_until(pair->p, "query-status", "status", "paused");
        colo_guest_sleep(pair->p);
        colo_side_until(pair->p, "query-status", "status", "suspended");
        colo_query_checkpoint(pair);
        colo_side_until(pair->s, "query-status", "status", "suspended");
        colo_side_ok(pair->p, "{'execute': 'system_wakeup'}");
        colo_side_await(pair->p, "WAKEUP", i + 1, COLO_WAIT_MS);
        colo_side_until(pair->p, "query-status", "status", "paused");
        expect_reset(pair->p, "paused");
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_side_until(pair->p, "query-status", "status", "running");
        colo_sleep_expect_counting(pair);
        colo_side_until(pair->s, "query-status", "status", "running");
    }
    colo_pair_take_over(pair, "running");
    colo_pair_free(pair);
}

/* What brings a guest to an end before it falls asleep; no pair is needed for that. */
static void test_ended_before(void)
{
    static const struct {
        ColoGuestAct *act;
        const char *status;
    } ends[] = {
        { colo_guest_panic, "guest-panicked" },
        { colo_guest_watchdog, "watchdog" },
        { colo_guest_power_off, "shutdown" },
        { colo_guest_write_full_disk, "io-error" },
    };
    ColoPair *pair = colo_pair_new("pc -device pvpanic -device ib700 "
                                   "-action panic=pause -action watchdog=pause "
                                   "-action shutdown=pause " COLO_GUEST_FULL_DISK,
                                   COLO_NO_DISK, COLO_NO_TIMER);

    for (int i = 0; i < ARRAY_SIZE(ends); i++) {
        ends[i].act(pair->p);
        colo_side_until(pair->p, "query-status", "status", ends[i].status);
        colo_guest_sleep(pair->p);
        colo_side_until(pair->p, "query-status", "status", "suspended");
        colo_side_ok(pair->p, "{'execute': 'system_wakeup'}");
        colo_side_until(pair->p, "query-status", "status", "paused");
        expect_reset(pair->p, "paused");
        colo_side_ok(pair->p, "{'execute': 'cont'}");
        colo_side_until(pair->p, "query-status", "status", "running");
        colo_sleep_expect_counting(pair);
    }
    colo_pair_free(pair);
}

static const ColoTestCase cases[] = {
    { "in-hold", test_woken_in_hold },
    { "stopped-in-hold", test_woken_and_stopped },
    { "asleep-in-hold", test_asleep_in_hold },
    { "survivor", test_woken_survivor },
    { "alarm/in-hold", test_alarm_in_hold },
    { "alarm/survivor", test_alarm_of_survivor },
    { "alarm/after", test_alarm_after },
    { "stopped/before", test_stopped_before },
    { "stopped/ended", test_ended_before },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-wakeup", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
