/*
 * What COLO tells: query-colo's figures, and its events
 *
 * Two QEMUs without an operating system.  The figures are those of what was done, no
 * more and no less, on both sides; the timer makes no checkpoint.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "qapi/qmp/qlist.h"
#include "colo-guest.h"
#include "colo-query.h"

#define PAGE COLO_GUEST_PAGE
#define FREE_RAM COLO_GUEST_FREE_RAM

/* Checkpoints of which there are figures */
#define COUNT 5

/* What the guest, the firmware and the test itself may write besides, in pages */
#define GUEST_PAGES 100

/* In the order in which they come, then all of them; NULL ends */
static const char *const primary_phases[] = {
    "stop", "drain", "device-state", "memory", "commit", "release", "pause", NULL
};
static const char *const secondary_phases[] = {
    "receive", "disk-checkpoint", "write-back", "load", "secondary-pause", NULL
};

static QDict *query(ColoSide *side)
{
    return colo_side_get(side, "{'execute': 'query-colo'}");
}

static int64_t figure(ColoSide *side, const char *name)
{
    QDict *info = query(side);
    int64_t value = qdict_get_int(info, name);

    qobject_unref(info);
    return value;
}

static int64_t memory(ColoSide *side, const char *name)
{
    QDict *info = query(side);
    int64_t value = qdict_get_int(qdict_get_qdict(info, "memory"), name);

    qobject_unref(info);
    return value;
}

static void checkpoints(ColoPair *pair, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        colo_query_checkpoint(pair);
        colo_query_settle(pair);
    }
}

/* A checkpoint has one of each; returns how long the last one took. */
static int64_t expect_phase(QDict *info, const char *name)
{
    QDict *phase = colo_query_phase(info, name);
    int64_t last = qdict_get_int(phase, "last");
    int64_t max = qdict_get_int(phase, "max");

    g_assert_cmpint(qdict_get_int(phase, "count"), ==, COUNT);
    g_assert_cmpint(last, <=, max);
    g_assert_cmpint(qdict_get_int(phase, "mean"), <=, max);
    g_assert_cmpint(qdict_get_int(phase, "p50"), <=, qdict_get_int(phase, "p99"));
    g_assert_cmpint(qdict_get_int(phase, "p99"), <=, max);
    return last;
}

/* These and no others; the last one is the sum of the others. */
static void expect_phases(ColoSide *side, const char *const *names)
{
    QDict *info = query(side);
    unsigned count = g_strv_length((char **)names);
    int64_t sum = 0;

    g_assert_cmpuint(qlist_size(qdict_get_qlist(info, "phases")), ==, count);
    for (unsigned i = 0; i < count - 1; i++) {
        sum += expect_phase(info, names[i]);
    }
    g_assert_cmpint(sum, >, 0);
    g_assert_cmpint(sum, ==, expect_phase(info, names[count - 1]));
    qobject_unref(info);
}

static void test_primary(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    QDict *info;

    checkpoints(pair, COUNT);
    colo_side_until(pair->p, "query-colo", "state", "protected");
    colo_side_until(pair->p, "query-colo", "mode", "primary");
    g_assert_cmpint(figure(pair->p, "epoch"), ==, COUNT);
    expect_phases(pair->p, primary_phases);
    info = query(pair->p);
    g_assert_cmpint(colo_query_triggers(info, "request"), ==, COUNT);
    g_assert_cmpint(colo_query_triggers(info, "guest"), ==, 0);
    qobject_unref(info);
    /* The guest writes to more pages than this between any two */
    g_assert_cmpint(memory(pair->p, "pages-pause"), >, COUNT);
    g_assert_cmpint(memory(pair->p, "bytes-pause"), >, COUNT * PAGE);
    /* A stop is told at once, and so is a start */
    colo_side_ok(pair->p, "{'execute': 'stop'}");
    colo_query_await_epoch(pair->p, COUNT + 1);
    colo_side_ok(pair->p, "{'execute': 'cont'}");
    colo_query_await_epoch(pair->p, COUNT + 2);
    g_assert_cmpint(colo_query_count(pair->p, "guest"), ==, 2);
    colo_pair_fail_over_to_primary(pair);
    colo_side_until(pair->p, "query-colo", "state", "none");
    /* They stay */
    g_assert_cmpint(figure(pair->p, "epoch"), ==, COUNT + 2);
    g_assert_cmpint(colo_query_count(pair->p, "request"), ==, COUNT);
    colo_pair_free(pair);
}

static void test_secondary(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    QDict *info;

    checkpoints(pair, COUNT);
    colo_side_until(pair->s, "query-colo", "state", "protected");
    colo_side_until(pair->s, "query-colo", "mode", "secondary");
    g_assert_cmpint(figure(pair->s, "epoch"), ==, COUNT);
    expect_phases(pair->s, secondary_phases);
    info = query(pair->s);
    g_assert(qlist_empty(qdict_get_qlist(info, "triggers")));
    qobject_unref(info);
    colo_pair_fail_over_to_secondary(pair);
    colo_side_until(pair->p, "query-colo", "state", "none");
    g_assert_cmpint(figure(pair->p, "epoch"), ==, COUNT);
    colo_pair_free(pair);
}

/* How much @name of @side has grown by with one checkpoint: @least, and not much more */
static void expect_growth(ColoPair *pair, ColoSide *side, const char *name,
                          int64_t least)
{
    int64_t before = memory(side, name), growth;

    checkpoints(pair, 1);
    growth = memory(side, name) - before;
    g_test_message("%s: %" PRId64 " more", name, growth);
    g_assert_cmpint(growth, >=, least);
    g_assert_cmpint(growth, <=, least + GUEST_PAGES);
}

/* Pages are P's doing, or S's alone. */
static void test_memory(void)
{
    const unsigned pages = 700;
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    int64_t us, locked_us;

    checkpoints(pair, 1);
    colo_guest_fill(pair->p, FREE_RAM, pages, 1, 1);
    expect_growth(pair, pair->s, "pages-received", pages);
    colo_guest_fill(pair->p, FREE_RAM, pages, 1, 2);
    expect_growth(pair, pair->p, "pages-pause", pages);
    colo_guest_fill(pair->s, FREE_RAM, pages, 2, 3);
    expect_growth(pair, pair->s, "pages-diverged", pages);
    us = memory(pair->s, "write-back-time");
    locked_us = memory(pair->s, "write-back-locked-time");
    g_assert_cmpint(us, >, 0);
    g_assert_cmpint(locked_us, <=, us);
    /* Nothing goes ahead where there is no timer */
    g_assert_cmpint(memory(pair->p, "pages-background"), ==, 0);
    g_assert_cmpint(memory(pair->s, "pages-received"), ==,
                    memory(pair->p, "pages-pause"));
    /* One side's figures are none of the other's */
    g_assert_cmpint(memory(pair->p, "pages-received"), ==, 0);
    g_assert_cmpint(memory(pair->p, "pages-diverged"), ==, 0);
    g_assert_cmpint(memory(pair->s, "pages-pause"), ==, 0);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_free(pair);
}

/*
 * What one side has sent the other one gets; they talk on meanwhile, so look until
 * there is a moment at which nothing is on its way.
 */
static void expect_equal_bytes(ColoSide *from, ColoSide *to)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    int64_t sent = 0, received = 0;

    do {
        if (g_get_monotonic_time() > end) {
            colo_fail("%" PRId64 " bytes sent, %" PRId64 " received", sent,
                      received);
        }
        sent = figure(from, "bytes-sent");
        received = figure(to, "bytes-received");
    } while (sent != received || sent != figure(from, "bytes-sent"));
    g_assert_cmpint(sent, >, 0);
}

/* Also those of an epoch that is not committed, and of one that never is */
static void test_bytes(void)
{
    ColoPair *pair = colo_pair_start(COLO_NO_DISK, COLO_NO_TIMER);
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    int64_t before, sent;

    expect_equal_bytes(pair->p, pair->s);
    checkpoints(pair, COUNT);
    expect_equal_bytes(pair->p, pair->s);
    expect_equal_bytes(pair->s, pair->p);
    before = figure(pair->p, "bytes-sent");
    g_assert_cmpint(before, >=, memory(pair->p, "bytes-pause"));

    colo_side_freeze(pair->s, true);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    do {
        if (g_get_monotonic_time() > end) {
            colo_fail("a checkpoint that is being sent does not count");
        }
        sent = figure(pair->p, "bytes-sent");
    } while (sent < before + PAGE);
    g_assert_cmpint(figure(pair->p, "epoch"), ==, COUNT);
    colo_pair_fail_over_to_primary(pair);
    g_assert_cmpint(figure(pair->p, "bytes-sent"), >=, sent);
    colo_pair_free(pair);
}

static void expect_said(ColoSide *side, const char *event, const char *key,
                        const char *text)
{
    const char *said = colo_side_said(side, event, key);

    if (!strstr(said, text)) {
        colo_fail("%s has the %s \"%s\", not \"%s\"", event, key, said, text);
    }
}

/* One side dies, and the other one says so: all events of its life */
static void expect_events(ColoSide *side, const char *mode)
{
    unsigned refused = colo_side_count(side, "COLO_FAILOVER_REFUSED");
    g_autofree char *reason = NULL;

    colo_side_await(side, "COLO_LOST", 1, COLO_WAIT_MS);
    expect_said(side, "COLO_LOST", "mode", mode);
    reason = colo_side_ask(side, "reason", "{'execute': 'query-colo'}");
    g_assert_cmpstr(reason, !=, "");
    expect_said(side, "COLO_LOST", "reason", reason);
    colo_side_await(side, "COLO_EXIT", 1, COLO_WAIT_MS);
    expect_said(side, "COLO_EXIT", "mode", mode);
    expect_said(side, "COLO_EXIT", "reason", "error");
    colo_side_until(side, "query-colo", "state", "lost");
    colo_side_ok(side, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_side_until(side, "query-colo-status", "mode", "none");
    g_assert_cmpuint(colo_side_count(side, "COLO_PROTECTED"), ==, 1);
    g_assert_cmpuint(colo_side_count(side, "COLO_LOST"), ==, 1);
    g_assert_cmpuint(colo_side_count(side, "COLO_EXIT"), ==, 1);
    g_assert_cmpuint(colo_side_count(side, "COLO_FAILOVER_REFUSED"), ==, refused);
}

/* There is no peer, now: the command is refused, and others hear of it. */
static void expect_refused(ColoSide *side, unsigned count, const char *mode,
                           const char *reason)
{
    QDict *answer = colo_side_try(side, COLO_ANSWER_MS,
                                  "{'execute': 'x-colo-lost-heartbeat'}");

    g_assert(answer && qdict_haskey(answer, "error"));
    qobject_unref(answer);
    colo_side_await(side, "COLO_FAILOVER_REFUSED", count, COLO_WAIT_MS);
    expect_said(side, "COLO_FAILOVER_REFUSED", "mode", mode);
    expect_said(side, "COLO_FAILOVER_REFUSED", "reason", reason);
}

#define NO_PEER "'colo' is not enabled"

static ColoPair *start_and_hear(void)
{
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);

    expect_refused(pair->p, 1, "none", NO_PEER);
    g_assert_cmpuint(colo_side_count(pair->p, "COLO_PROTECTED"), ==, 0);
    colo_pair_protect(pair);
    colo_side_await(pair->p, "COLO_PROTECTED", 1, COLO_WAIT_MS);
    expect_said(pair->p, "COLO_PROTECTED", "mode", "primary");
    colo_side_await(pair->s, "COLO_PROTECTED", 1, COLO_WAIT_MS);
    expect_said(pair->s, "COLO_PROTECTED", "mode", "secondary");
    checkpoints(pair, 2);
    return pair;
}

static void test_events_primary(void)
{
    ColoPair *pair = start_and_hear();

    colo_side_kill(pair->s);
    pair->s = NULL;
    expect_events(pair->p, "primary");
    expect_refused(pair->p, 2, "none", NO_PEER);
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

static void test_events_secondary(void)
{
    ColoPair *pair = start_and_hear();

    colo_side_kill(pair->p);
    pair->p = pair->s;
    pair->s = NULL;
    expect_events(pair->p, "secondary");
    expect_refused(pair->p, 1, "none", NO_PEER);
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

/* A disk of nobody's, with requests that don't end before the test lets them */
#define SLOW_DISK "-drive if=none,id=slow,driver=raw,file.driver=blkdebug," \
                  "file.image.driver=null-co"

/*
 * Asked for once more, while the first failover is under way: P's thread waits for a
 * disk of P's, in the middle of a checkpoint.
 */
static void test_already(void)
{
    ColoPair *pair = colo_pair_start_on("pc " SLOW_DISK, COLO_NO_DISK, COLO_NO_TIMER);
    unsigned stops;

    colo_side_ok(pair->p, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': 3600000}}");
    checkpoints(pair, 1);
    stops = colo_side_count(pair->p, "STOP");
    colo_side_hmp(pair->p, "qemu-io slow \"break write_aio held\"");
    colo_side_hmp(pair->p, "qemu-io slow \"aio_write -q 0 512\"");
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_side_await(pair->p, "STOP", stops + 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'x-colo-lost-heartbeat'}");
    expect_refused(pair->p, 1, "primary", "already");
    colo_side_hmp(pair->p, "qemu-io slow \"resume held\"");
    colo_side_await(pair->p, "COLO_EXIT", 1, COLO_WAIT_MS);
    expect_said(pair->p, "COLO_EXIT", "reason", "request");
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "running");
    colo_guest_check(pair->p, pair->scratch);
    colo_pair_free(pair);
}

static const ColoTestCase cases[] = {
    { "primary", test_primary },
    { "secondary", test_secondary },
    { "memory", test_memory },
    { "bytes", test_bytes },
    { "events/p", test_events_primary },
    { "events/s", test_events_secondary },
    { "already", test_already },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-query", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
