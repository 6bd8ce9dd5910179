/*
 * COLO's checkpoints that somebody is in need of: storms, and full queues
 *
 * Two QEMUs without an operating system.  The primary's comparison gets its frames
 * from this program, which is both guests' network; the disk's writes come from a
 * monitor.  The timer makes no checkpoint.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-output.h"
#include "colo-query.h"

#define NS_PER_MS ((int64_t)1000 * 1000)
/* What a guest always gets between two checkpoints: migration/colo-trigger.h */
#define SPACING_NS (1 * NS_PER_MS)

/* How often the comparison asks again for a checkpoint that does not come */
#define AGAIN_MS 1000
#define AGAIN_SOON_MS 1
#define AGAIN_NEVER_MS (3600 * 1000)

/* Of an epoch, to the disk; block/replication-primary.c has the same */
#define EPOCH_MIB 128
#define WRITE_MIB 4

static ColoOutput *start(unsigned again_ms)
{
    ColoPair *pair = colo_pair_new("pc", COLO_NO_DISK, COLO_NO_TIMER);
    ColoOutput *o = colo_output_new(pair, again_ms);

    colo_pair_protect(pair);
    return o;
}

/* The secondary takes over, and its guest is whole. */
static void finish(ColoOutput *o)
{
    ColoPair *pair = o->pair;

    colo_pair_fail_over_to_secondary(pair);
    colo_output_free(o);
    colo_pair_free(pair);
}

/* Each guest sends something else. */
static void differ(ColoOutput *o, uint8_t content)
{
    colo_output_send(o->primary, content);
    colo_output_send(o->secondary, ~content);
}

/*
 * How many checkpoints there may be since @start, @rounds of which are needed: when
 * one has just begun the comparison may ask again, and gets another one.
 */
static unsigned most(unsigned rounds, int64_t start)
{
    int64_t ms = (g_get_monotonic_time() - start) / 1000;

    return rounds + ms / AGAIN_MS + 1;
}

/* All pauses, of which there are @count at least, and the longest */
static unsigned get_pauses(ColoSide *side, unsigned count, int64_t *sum_ns,
                           int64_t *max_ns)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL, counted;

    do {
        QDict *info = colo_side_get(side, "{'execute': 'query-colo'}");
        QDict *pause = colo_query_phase(info, "pause");

        counted = qdict_get_int(pause, "count");
        *sum_ns = qdict_get_int(pause, "mean") * counted;
        *max_ns = qdict_get_int(pause, "max");
        qobject_unref(info);
        if (g_get_monotonic_time() > end) {
            colo_fail("%" PRId64 " pauses, not %u", counted, count);
        }
    } while (counted < count);
    return counted;
}

/*
 * All checkpoints since @start were for these @rounds.  The guest has its share:
 * after each pause but the last it runs for as long, and for the least spacing.
 */
static void expect_share(ColoSide *side, unsigned rounds, int64_t start)
{
    int64_t pause_ns, last_ns, ns, run_ns;
    unsigned count = get_pauses(side, rounds, &pause_ns, &last_ns);

    ns = (g_get_monotonic_time() - start) * 1000;
    run_ns = ns - pause_ns;
    g_test_message("%u checkpoints in %" PRId64 " ms, the guest stood still for "
                   "%" PRId64 " of them", count, ns / NS_PER_MS,
                   pause_ns / NS_PER_MS);
    g_assert_cmpuint(count, <=, most(rounds, start));
    if (run_ns < pause_ns - last_ns || run_ns < (count - 1) * SPACING_NS) {
        colo_fail("the guest ran for %" PRId64 " us, and stood still for %" PRId64
                  " us, in %u checkpoints", run_ns / 1000, pause_ns / 1000,
                  count);
    }
}

/* From @least to @most were for @cause, none for another. */
static void expect_only(ColoSide *side, const char *cause, int64_t least,
                        int64_t most)
{
    static const char *const causes[] = {
        "timer", "mismatch", "queue", "request", "guest",
    };

    for (int i = 0; i < ARRAY_SIZE(causes); i++) {
        int64_t count = colo_query_count(side, causes[i]);
        bool it = g_str_equal(causes[i], cause);

        g_assert_cmpint(count, >=, it ? least : 0);
        g_assert_cmpint(count, <=, it ? most : 0);
    }
}

/* A hold is measured for each mismatch's checkpoint, and for no other one. */
static void expect_holds(ColoSide *side)
{
    QDict *info = colo_side_get(side, "{'execute': 'query-colo'}");
    int64_t count = colo_query_triggers(info, "mismatch");

    if (count || colo_query_has_phase(info, "hold")) {
        QDict *hold = colo_query_phase(info, "hold");

        g_assert_cmpint(qdict_get_int(hold, "count"), ==, count);
        g_assert_cmpint(qdict_get_int(hold, "p50"), <=, qdict_get_int(hold, "p99"));
        g_assert_cmpint(qdict_get_int(hold, "p99"), <=, qdict_get_int(hold, "max"));
        /* It lasts from before the guest is stopped to before it runs again */
        g_assert_cmpint(qdict_get_int(hold, "mean"), >,
                        qdict_get_int(colo_query_phase(info, "commit"), "mean"));
    }
    qobject_unref(info);
}

/*
 * Two guests that never agree: each frame needs a checkpoint of its own, and the
 * next one is there before that has ended.
 */
static void test_storm(void)
{
    const unsigned rounds = 200;
    ColoOutput *o = start(AGAIN_MS);
    int64_t start = g_get_monotonic_time();

    for (unsigned i = 0; i < rounds; i++) {
        differ(o, i);
        colo_output_expect(o, i);
    }
    expect_share(o->pair->p, rounds, start);
    expect_only(o->pair->p, "mismatch", rounds, most(rounds, start));
    colo_query_settle(o->pair);
    expect_holds(o->pair->p);
    finish(o);
}

/* The same where each pause is long, because the secondary stands still. */
static void test_storm_slow(void)
{
    const int pause_ms = 300;
    const unsigned rounds = 5;
    ColoOutput *o = start(AGAIN_NEVER_MS);
    int64_t start = g_get_monotonic_time(), sum, max;

    for (unsigned i = 0; i < rounds; i++) {
        unsigned stops = colo_side_count(o->pair->p, "STOP");

        colo_side_freeze(o->pair->s, true);
        differ(o, i);
        colo_side_await(o->pair->p, "STOP", stops + 1, COLO_WAIT_MS);
        g_usleep(pause_ms * 1000);
        colo_side_freeze(o->pair->s, false);
        colo_output_expect(o, i);
        /* It has told P that its guest runs: the next one may begin. */
        colo_query_await_epoch(o->pair->s, i + 1);
    }
    expect_share(o->pair->p, rounds, start);
    get_pauses(o->pair->p, rounds, &sum, &max);
    g_assert_cmpint(sum, >=, rounds * pause_ms * NS_PER_MS);
    expect_only(o->pair->p, "mismatch", rounds, rounds);
    expect_holds(o->pair->p);
    finish(o);
}

/* More frames than a flow's queue holds, and none of the secondary's */
static void test_queue(void)
{
    const unsigned count = COLO_OUTPUT_QUEUE + 16;
    ColoOutput *o = start(AGAIN_NEVER_MS);

    for (unsigned i = 0; i < count; i++) {
        colo_output_send(o->primary, i);
    }
    colo_query_await_count(o->pair->p, "queue", 1);
    /* Those that came after its end are not too many: they wait. */
    colo_pair_request_checkpoint(o->pair);
    for (unsigned i = 0; i < count; i++) {
        colo_output_expect(o, i);
    }
    g_assert_cmpint(colo_query_count(o->pair->p, "queue"), ==, 1);
    g_assert_cmpint(colo_query_count(o->pair->p, "mismatch"), ==, 0);
    expect_holds(o->pair->p);
    finish(o);
}

/*
 * The checkpoint takes its time, and is asked for again and again: for the same
 * reason.  One more may have been begun for that.
 */
static void test_queue_again(void)
{
    const int pause_ms = 300;
    ColoOutput *o = start(AGAIN_SOON_MS);

    colo_side_freeze(o->pair->s, true);
    for (unsigned i = 0; i <= COLO_OUTPUT_QUEUE; i++) {
        colo_output_send(o->primary, i);
    }
    colo_side_await(o->pair->p, "STOP", 1, COLO_WAIT_MS);
    g_usleep(pause_ms * 1000);
    colo_side_freeze(o->pair->s, false);
    for (unsigned i = 0; i <= COLO_OUTPUT_QUEUE; i++) {
        colo_output_expect(o, i);
    }
    colo_query_await_epoch(o->pair->s, 2);
    expect_only(o->pair->p, "queue", 2, 2);
    finish(o);
}

static void write_disk(ColoPair *pair, unsigned mib, uint8_t pattern)
{
    for (unsigned i = 0; i < mib / WRITE_MIB; i++) {
        colo_side_hmp(pair->p, "qemu-io colo-disk0 \"write -q -P %u 0 %uM\"",
                      pattern, WRITE_MIB);
    }
}

/* An epoch's writes to the disk: what the secondary has to merge has a limit. */
static void test_epoch_bytes(void)
{
    ColoPair *pair = colo_pair_start(COLO_DISK, COLO_NO_TIMER);

    for (int64_t epoch = 0; epoch < 2; epoch++) {
        write_disk(pair, EPOCH_MIB / 2, 1);
        g_assert_cmpint(colo_query_epoch(pair->p), ==, epoch);
        write_disk(pair, EPOCH_MIB / 2, 2 + epoch);
        colo_query_await_count(pair->p, "queue", epoch + 1);
        colo_query_await_epoch(pair->s, epoch + 1);
    }
    expect_only(pair->p, "queue", 2, 2);
    colo_pair_fail_over_to_secondary(pair);
    colo_pair_expect(pair, 3, 0);
    colo_pair_free(pair);
}

static const ColoTestCase cases[] = {
    { "storm", test_storm },
    { "storm-slow", test_storm_slow },
    { "queue", test_queue },
    { "queue-again", test_queue_again },
    { "epoch-bytes", test_epoch_bytes },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    colo_add_cases("colo-trigger", cases, ARRAY_SIZE(cases));
    return g_test_run();
}
