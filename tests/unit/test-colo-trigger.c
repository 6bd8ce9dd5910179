/*
 * When checkpoints are due, and how durations are counted
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "migration/colo-histogram.h"
#include "migration/colo-trigger.h"

#define MS 1000000LL

static void expect(ColoTrigger *t, int64_t now, int64_t due,
                   ColoTriggerCause why)
{
    ColoTriggerCause cause;

    g_assert_cmpint(colo_trigger_due(t, now, &cause), ==, due);
    g_assert_cmpint(cause, ==, why);
}

/* The timer counts from the end of the last checkpoint. */
static void test_timer(void)
{
    ColoTrigger t;

    colo_trigger_init(&t, 100 * MS, 0);
    expect(&t, 0, 100 * MS, COLO_TRIGGER_CAUSE_TIMER);
    expect(&t, 40 * MS, 60 * MS, COLO_TRIGGER_CAUSE_TIMER);
    expect(&t, 170 * MS, 0, COLO_TRIGGER_CAUSE_TIMER);
    colo_trigger_begin(&t, COLO_TRIGGER_CAUSE_TIMER);
    colo_trigger_end(&t, 200 * MS, 30 * MS);
    expect(&t, 200 * MS, 100 * MS, COLO_TRIGGER_CAUSE_TIMER);
    g_assert_cmpuint(t.count[COLO_TRIGGER_CAUSE_TIMER], ==, 1);
}

/* A pause longer than the interval: the guest gets half of the time. */
static void test_share(void)
{
    ColoTrigger t;

    colo_trigger_init(&t, 10 * MS, 0);
    colo_trigger_begin(&t, COLO_TRIGGER_CAUSE_TIMER);
    colo_trigger_end(&t, 100 * MS, 80 * MS);
    expect(&t, 100 * MS, 80 * MS, COLO_TRIGGER_CAUSE_TIMER);
    colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_MISMATCH);
    expect(&t, 110 * MS, 70 * MS, COLO_TRIGGER_CAUSE_MISMATCH);
}

/* A storm of mismatches leaves the guest the minimum spacing. */
static void test_storm(void)
{
    ColoTrigger t;
    int64_t now = 0;

    colo_trigger_init(&t, 3600 * 1000 * MS, 0);
    for (int i = 0; i < 1000; i++) {
        colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_MISMATCH);
        expect(&t, now, COLO_MIN_SPACING_NS, COLO_TRIGGER_CAUSE_MISMATCH);
        now += COLO_MIN_SPACING_NS;
        expect(&t, now, 0, COLO_TRIGGER_CAUSE_MISMATCH);
        colo_trigger_begin(&t, COLO_TRIGGER_CAUSE_MISMATCH);
        colo_trigger_end(&t, now, 0);
    }
    g_assert_cmpuint(t.count[COLO_TRIGGER_CAUSE_MISMATCH], ==, 1000);
    g_assert_cmpuint(t.count[COLO_TRIGGER_CAUSE_TIMER], ==, 0);
}

/* Several at once: what holds output first; one checkpoint serves them all. */
static void test_order(void)
{
    ColoTrigger t;

    colo_trigger_init(&t, 100 * MS, 0);
    colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_REQUEST);
    expect(&t, 50 * MS, 0, COLO_TRIGGER_CAUSE_REQUEST);
    colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_GUEST);
    expect(&t, 50 * MS, 0, COLO_TRIGGER_CAUSE_GUEST);
    colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_QUEUE);
    expect(&t, 50 * MS, 0, COLO_TRIGGER_CAUSE_QUEUE);
    colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_MISMATCH);
    expect(&t, 50 * MS, 0, COLO_TRIGGER_CAUSE_MISMATCH);
    colo_trigger_begin(&t, COLO_TRIGGER_CAUSE_MISMATCH);
    /* One that comes during the checkpoint is for the next. */
    colo_trigger_raise(&t, COLO_TRIGGER_CAUSE_REQUEST);
    colo_trigger_end(&t, 51 * MS, MS);
    expect(&t, 52 * MS, 0, COLO_TRIGGER_CAUSE_REQUEST);
    colo_trigger_begin(&t, COLO_TRIGGER_CAUSE_REQUEST);
    colo_trigger_end(&t, 53 * MS, MS);
    expect(&t, 53 * MS, 100 * MS, COLO_TRIGGER_CAUSE_TIMER);
}

/* Against a sorted list, for values of all sizes */
static int compare(const void *a, const void *b)
{
    uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void test_histogram(void)
{
    static const unsigned per_mille[] = { 1, 100, 500, 900, 990, 1000 };
    g_autofree ColoHistogram *h = g_new0(ColoHistogram, 1);
    uint64_t value[2000];

    g_assert_cmpuint(colo_histogram_percentile(h, 500), ==, 0);
    for (int i = 0; i < ARRAY_SIZE(value); i++) {
        value[i] = (((uint64_t)g_test_rand_int() << 32) | g_test_rand_int()) >>
                   g_test_rand_int_range(0, 64);
        colo_histogram_add(h, value[i]);
    }
    g_assert_cmpuint(h->last, ==, value[ARRAY_SIZE(value) - 1]);
    qsort(value, ARRAY_SIZE(value), sizeof(value[0]), compare);
    for (int i = 0; i < ARRAY_SIZE(per_mille); i++) {
        uint64_t exact = value[ARRAY_SIZE(value) * per_mille[i] / 1000 - 1];
        uint64_t found = colo_histogram_percentile(h, per_mille[i]);

        g_assert_cmpuint(found, >=, exact);
        g_assert_cmpuint(found - exact, <=, exact / 8);
    }
    g_assert_cmpuint(h->max, ==, value[ARRAY_SIZE(value) - 1]);
    g_assert_cmpuint(h->count, ==, ARRAY_SIZE(value));
}

static void test_histogram_ends(void)
{
    g_autofree ColoHistogram *h = g_new0(ColoHistogram, 1);

    colo_histogram_add(h, UINT64_MAX);
    g_assert_cmpuint(colo_histogram_percentile(h, 1000), ==, UINT64_MAX);
    colo_histogram_add(h, 0);
    g_assert_cmpuint(colo_histogram_percentile(h, 500), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/trigger/timer", test_timer);
    g_test_add_func("/colo/trigger/share", test_share);
    g_test_add_func("/colo/trigger/storm", test_storm);
    g_test_add_func("/colo/trigger/order", test_order);
    g_test_add_func("/colo/histogram/random", test_histogram);
    g_test_add_func("/colo/histogram/ends", test_histogram_ends);
    return g_test_run();
}
