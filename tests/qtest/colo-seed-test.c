/*
 * A primary's guest while its first copy is sent to a secondary
 *
 * Two QEMUs without an operating system.  RAM is sent so slowly that it would
 * never be done, until the time allowed for its end says otherwise.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-guest.h"
#include "colo-pair.h"
#include "colo-proxy.h"

/* Of the pair with a slow platter: how long its secondary waits for that is half */
#define PEER_TIMEOUT_MS 8000

/* The secondary may be busy with something else that long */
#define QUICK_MS 1000

/* QEMUs that are ended at about the time at which replication begins */
#define QUITS 12

static void set_limits(ColoPair *pair, int64_t bandwidth, int downtime_ms)
{
    colo_side_ok(pair->p, "{'execute': 'migrate-set-parameters', 'arguments':"
                 "{'max-bandwidth': %" PRId64 ", 'downtime-limit': %d}}",
                 bandwidth, downtime_ms);
}

/* What the documented step seed-end does, and faster */
static void end_seeding(ColoPair *pair)
{
    set_limits(pair, 1000000000, 60000);
}

/* The copy is under way, and will be until end_seeding(). */
static void start_seeding(ColoPair *pair)
{
    colo_pair_connect_disk(pair);
    set_limits(pair, 100000, 1);
    colo_pair_migrate(pair);
    colo_side_until(pair->p, "query-migrate", "status", "active");
}

static ColoPair *seeding(ColoPairDisk disk)
{
    ColoPair *pair = colo_pair_new("pc", disk, COLO_NO_TIMER);

    colo_pair_add_secondary(pair, "");
    start_seeding(pair);
    return pair;
}

static void await_colo(ColoPair *pair)
{
    colo_side_until(pair->p, "query-migrate", "status", "colo");
    colo_side_until(pair->p, "query-colo", "state", "protected");
    colo_side_until(pair->s, "query-colo", "state", "protected");
}

static void expect_status(ColoSide *side, const char *status)
{
    g_autofree char *is = colo_side_ask(side, "status",
                                        "{'execute': 'query-status'}");

    g_assert_cmpstr(is, ==, status);
}

/* The guest must be seen at work, without being stopped. */
static void expect_progress(ColoPair *pair)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    g_autofree uint8_t *before = colo_guest_memory(pair->p, pair->scratch, 0,
                                                   COLO_GUEST_RAM);
    bool same = true;

    while (same) {
        g_autofree uint8_t *now = colo_guest_memory(pair->p, pair->scratch, 0,
                                                    COLO_GUEST_RAM);

        same = !memcmp(before, now, COLO_GUEST_RAM);
        if (same && g_get_monotonic_time() > end) {
            colo_fail("the guest does not run while it is copied");
        }
    }
}

/*
 * It runs and writes.  What it has written to its disk is the secondary's, too,
 * as soon as replication begins.
 */
static void test_runs(void)
{
    ColoPair *pair = seeding(COLO_DISK);

    colo_pair_write(pair, 0x11, 0);
    expect_progress(pair);
    colo_pair_write(pair, 0x22, 0x10000);
    expect_status(pair->p, "running");
    colo_side_until(pair->p, "query-migrate", "status", "active");
    end_seeding(pair);
    await_colo(pair);
    expect_status(pair->p, "running");
    colo_pair_write(pair, 0x33, 0x20000);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, 0x10000);
    /* Of an epoch that was not committed */
    colo_pair_expect(pair, 0x00, 0x20000);

    /* A promoted one the same way, after a resync */
    colo_pair_add_secondary(pair, "");
    colo_pair_resync(pair);
    colo_pair_connect_disk(pair);
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_pair_write(pair, 0x44, 0x30000);
    set_limits(pair, 100000, 1);
    colo_pair_migrate(pair);
    colo_side_until(pair->p, "query-migrate", "status", "active");
    expect_progress(pair);
    colo_pair_write(pair, 0x55, 0x10000);
    end_seeding(pair);
    await_colo(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x55, 0x10000);
    colo_pair_expect(pair, 0x44, 0x30000);
    colo_pair_free(pair);
}

/* A guest that stood still before runs as soon as there are two of it. */
static void test_stopped_before(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);

    colo_pair_add_secondary(pair, "");
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    start_seeding(pair);
    expect_status(pair->p, "paused");
    end_seeding(pair);
    await_colo(pair);
    colo_side_until(pair->p, "query-status", "status", "running");
    expect_status(pair->s, "running");
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/* It stays stopped, here and there, also if the other one takes over. */
static void expect_stays(ColoPair *pair)
{
    await_colo(pair);
    /* The secondary is told by a checkpoint */
    colo_side_until(pair->s, "query-status", "status", "colo");
    colo_side_until(pair->p, "query-status", "status", "paused");
    colo_pair_take_over(pair, "paused");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

static void test_stopped_meanwhile(void)
{
    ColoPair *pair = seeding(COLO_NO_DISK);

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    end_seeding(pair);
    expect_stays(pair);
}

/*
 * The end of the copy has stopped the guest, and the secondary says nothing, for
 * as long as somebody wants.
 */
static ColoPair *at_the_end(ColoProxy **proxy)
{
    ColoPair *pair = colo_proxy_pair("pc", proxy);

    colo_proxy_arm(*proxy, COLO_TO_PRIMARY, COLO_MSG_HELLO, 0, COLO_FREEZE);
    start_seeding(pair);
    end_seeding(pair);
    colo_side_until(pair->p, "query-colo-status", "mode", "primary");
    expect_status(pair->p, "finish-migrate");
    return pair;
}

/* Then it is too late, and the primary goes on alone as @status. */
static void become_alone(ColoPair *pair, const char *status)
{
    colo_side_ok(pair->p, "{'exec-oob': 'yank', 'arguments': {'instances': "
                 "[{'type': 'migration'}]}}");
    colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
    colo_side_until(pair->p, "query-status", "status", status);
    colo_side_kill(pair->s);
    pair->s = NULL;
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    expect_status(pair->p, status);
}

static void end_alone(ColoPair *pair, ColoProxy *proxy, const char *status)
{
    become_alone(pair, status);
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_guest_check(pair->p, pair->scratch);
    colo_proxy_free(proxy);
    colo_pair_free(pair);
}

static void test_stopped_at_end(void)
{
    ColoProxy *proxy;
    ColoPair *pair = at_the_end(&proxy);

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    end_alone(pair, proxy, "paused");
}

/* What it had asked for as it still ran */
static void test_asleep_at_end(void)
{
    ColoProxy *proxy;
    ColoPair *pair = at_the_end(&proxy);

    colo_guest_sleep(pair->p);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    become_alone(pair, "suspended");
    colo_side_ok(pair->p, "{'execute': 'system_wakeup'}");
    colo_side_await(pair->p, "WAKEUP", 1, COLO_WAIT_MS);
    expect_status(pair->p, "running");
    colo_proxy_free(proxy);
    colo_pair_free(pair);
}

/* ... and was woken up and stopped before it is alone */
static void test_woken_at_end(void)
{
    ColoProxy *proxy;
    ColoPair *pair = at_the_end(&proxy);

    colo_guest_sleep(pair->p);
    colo_side_until(pair->p, "query-status", "status", "suspended");
    colo_side_ok(pair->p, "{'execute': 'system_wakeup'}");
    colo_side_await(pair->p, "WAKEUP", 1, COLO_WAIT_MS);
    expect_status(pair->p, "colo");
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    become_alone(pair, "paused");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    expect_status(pair->p, "running");
    colo_proxy_free(proxy);
    colo_pair_free(pair);
}

static void test_stopped_and_started(void)
{
    ColoPair *pair = seeding(COLO_NO_DISK);

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    expect_progress(pair);
    end_seeding(pair);
    await_colo(pair);
    expect_status(pair->p, "running");
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

static void lose_secondary(ColoPair *pair)
{
    colo_side_kill(pair->s);
    pair->s = NULL;
    colo_side_until(pair->p, "query-migrate", "status", "failed");
}

/* The guest goes on, and what it has done meanwhile is not lost. */
static void test_lost(void)
{
    ColoPair *pair = seeding(COLO_DISK);

    colo_pair_write(pair, 0x11, 0);
    lose_secondary(pair);
    expect_status(pair->p, "running");
    colo_side_ok(pair->p, "{'execute': 'x-blockdev-change', 'arguments': "
                 "{'parent': 'colo-disk0', 'child': 'children.1'}}");
    colo_side_hmp(pair->p, "drive_del replication0");
    colo_pair_write(pair, 0x22, 0x10000);
    colo_guest_check(pair->p, pair->scratch);

    set_limits(pair, 1000000000, 300);
    colo_pair_rejoin(pair);
    colo_pair_request_checkpoint(pair);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x22, 0x10000);
    colo_pair_free(pair);
}

static void test_lost_stopped(void)
{
    ColoPair *pair = seeding(COLO_NO_DISK);

    colo_side_ok(pair->p, "{'execute': 'stop'}");
    lose_secondary(pair);
    expect_status(pair->p, "paused");
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

/* Without COLO an error, which does not matter */
static void give_up(ColoSide *side)
{
    qobject_unref(colo_side_try(side, COLO_ANSWER_MS,
                                "{'execute': 'x-colo-lost-heartbeat'}"));
    colo_side_until(side, "query-colo-status", "mode", "none");
    colo_side_until(side, "query-status", "status", "running");
}

/* The guest stands, and the secondary will never answer. */
static void test_lost_at_end(void)
{
    ColoProxy *proxy;
    ColoPair *pair = at_the_end(&proxy);

    end_alone(pair, proxy, "running");
}

/* Failover as soon as it is possible, even a little before */
static void test_given_up(void)
{
    ColoPair *pair = seeding(COLO_NO_DISK);
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    bool taken;

    end_seeding(pair);
    do {
        QDict *answer = colo_side_try(pair->p, COLO_ANSWER_MS,
                                      "{'execute': 'x-colo-lost-heartbeat'}");

        g_assert_nonnull(answer);
        taken = qdict_haskey(answer, "return");
        qobject_unref(answer);
        if (g_get_monotonic_time() > end) {
            colo_fail("no failover was possible");
        }
    } while (!taken);
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_side_kill(pair->s);
    pair->s = NULL;
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

/*
 * Either QEMU is ended at an instant around the beginning of replication: it
 * ends, in time and well, and the other one is not drawn into it.
 */
static void quit_at_start(bool primary)
{
    for (int i = 0; i < QUITS; i++) {
        ColoPair *pair = seeding(COLO_NO_DISK);

        end_seeding(pair);
        g_usleep(i * 2000);     /* the instant, not a wait */
        if (primary) {
            colo_side_quit(pair->p);
            /* A migration that broke off ends it, too */
            colo_side_bury(pair->s);
            pair->p = pair->s = NULL;
        } else {
            colo_side_quit(pair->s);
            pair->s = NULL;
            colo_side_until(pair->p, "query-status", "status", "running");
            give_up(pair->p);
            colo_guest_check(pair->p, pair->scratch);
        }
        colo_pair_free(pair);
    }
}

static void test_quit_secondary(void)
{
    quit_at_start(false);
}

static void test_quit_primary(void)
{
    quit_at_start(true);
}

static void set_peer_timeout(ColoSide *side)
{
    colo_side_ok(side, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", PEER_TIMEOUT_MS);
}

static bool is_protected(ColoSide *side)
{
    QDict *answer = colo_side_try(side, QUICK_MS, "{'execute': 'query-colo'}");
    QDict *colo;
    bool is;

    if (!answer) {
        colo_fail("no answer within %d ms while the disk is flushed", QUICK_MS);
    }
    colo = qdict_get_qdict(answer, "return");
    is = colo && g_str_equal(qdict_get_try_str(colo, "state") ?: "", "protected");
    qobject_unref(answer);
    return is;
}

/*
 * The secondary's disk, flushed for what the primary has written while it was copied,
 * does not come to an end of that; the copy does.
 */
static ColoPair *start_slow_platter(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_RAW_DISK, COLO_NO_TIMER);

    pair->breaks_flush = true;
    colo_pair_add_secondary(pair, "");
    set_peer_timeout(pair->p);
    set_peer_timeout(pair->s);
    colo_side_hmp(pair->s, "qemu-io parent0 \"break flush_to_disk pace\"");
    start_seeding(pair);
    colo_pair_write(pair, 0x11, 0);
    colo_side_hmp(pair->s, "qemu-io parent0 \"wait_break pace\"");
    end_seeding(pair);
    colo_side_until(pair->p, "query-migrate", "status", "colo");
    return pair;
}

static void end_slow_platter(ColoPair *pair)
{
    colo_side_hmp(pair->s, "qemu-io parent0 \"resume pace\"");
    await_colo(pair);
    colo_pair_request_checkpoint(pair);
    colo_pair_write(pair, 0x22, 0x10000);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 0x11, 0);
    colo_pair_expect(pair, 0x00, 0x10000);
    colo_pair_free(pair);
}

/* Replication starts when the flush has ended; until then QEMU answers. */
static void test_slow_platter(void)
{
    ColoPair *pair = start_slow_platter();
    int64_t end = g_get_monotonic_time() + PEER_TIMEOUT_MS / 4 * 1000;

    do {
        if (is_protected(pair->p) || is_protected(pair->s)) {
            colo_fail("replication starts, and a flush is under way");
        }
        g_usleep(20 * 1000);
    } while (g_get_monotonic_time() < end);
    end_slow_platter(pair);
}

/* That is in vain: it starts all the same, within what the primary waits for. */
static void test_slow_platter_hopeless(void)
{
    ColoPair *pair = start_slow_platter();
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (!is_protected(pair->p) || !is_protected(pair->s)) {
        if (g_get_monotonic_time() > end) {
            colo_fail("replication does not start");
        }
        g_usleep(20 * 1000);
    }
    end_slow_platter(pair);
}

static const ColoTestCase cases[] = {
    { "runs", test_runs },
    { "stopped/before", test_stopped_before },
    { "stopped/meanwhile", test_stopped_meanwhile },
    { "stopped/at-end", test_stopped_at_end },
    { "stopped/and-started", test_stopped_and_started },
    { "asleep-at-end", test_asleep_at_end },
    { "woken-at-end", test_woken_at_end },
    { "lost/copying", test_lost },
    { "lost/stopped", test_lost_stopped },
    { "lost/at-end", test_lost_at_end },
    { "given-up", test_given_up },
    { "quit/s", test_quit_secondary },
    { "quit/p", test_quit_primary },
    { "slow-platter/ends", test_slow_platter },
    { "slow-platter/hopeless", test_slow_platter_hopeless },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-seed", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
