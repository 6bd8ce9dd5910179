/*
 * Pauses from inside and from outside: events in, spans out
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-pause.h"

static void test_events(void)
{
    BenchPauses p;

    bench_pauses_init(&p);
    /* A start is no pause, and neither is any other event. */
    bench_pauses_event(&p, "RESUME", 1000);
    bench_pauses_event(&p, "STOP", 2000);
    bench_pauses_event(&p, "COLO_EXIT", 3000);
    bench_pauses_event(&p, "RESUME", 9500);
    bench_pauses_event(&p, "RESUME", 9600);
    bench_pauses_event(&p, "STOP", 10000);
    g_assert_cmpuint(p.spans->len, ==, 1);
    g_assert_cmpfloat(bench_span_ms(&g_array_index(p.spans, BenchSpan, 0)),
                      ==, 7.5);
    bench_pauses_event(&p, "RESUME", 10001);
    g_assert_cmpuint(p.spans->len, ==, 2);
    bench_pauses_clear(&p);
}

static void test_overlap(void)
{
    static const BenchSpan seen[] = {
        { 1000, 1900 }, { 5000, 9000 }, { 8800, 9100 }, { 20000, 90000 },
    };
    const struct {
        BenchSpan span;
        int64_t slack_us;
        int found;         /* index, or -1 */
    } cases[] = {
        { { 5100, 8900 }, 0, 1 },      /* of two, the longer one */
        { { 9050, 9060 }, 0, 2 },
        { { 2000, 3000 }, 0, -1 },     /* between them */
        { { 2000, 3000 }, 100, 0 },    /* clocks may differ by that */
        { { 2000, 3000 }, 99, -1 },
        { { 10000, 19900 }, 100, 3 },
        { { 95000, 99000 }, 0, -1 },
        { { 30000, 30000 }, 0, 3 },    /* of no length, within one */
    };
    g_autoptr(GArray) spans = g_array_new(false, false, sizeof(BenchSpan));

    g_array_append_vals(spans, seen, ARRAY_SIZE(seen));
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        const BenchSpan *found = bench_span_overlap(spans, &cases[i].span,
                                                    cases[i].slack_us);
        const BenchSpan *want = NULL;

        if (cases[i].found >= 0) {
            want = &g_array_index(spans, BenchSpan, cases[i].found);
        }
        g_assert_true(found == want);
    }
}

static void test_bound(void)
{
    /* Never less than what the counter's period makes unknowable */
    g_assert_cmpfloat(bench_pause_bound_ms(0, 0.2), >, 0.4);
    /* ... and a tenth of a long pause */
    g_assert_cmpfloat_with_epsilon(bench_pause_bound_ms(200, 0.2) -
                                   bench_pause_bound_ms(100, 0.2), 10, 0.001);
}

static void test_held(void)
{
    const BenchSpan gap = { .start_us = 1000, .end_us = 11000 };
    const BenchSpan busy = { .start_us = 1000, .end_us = 11000,
                             .awake_us = 2500 };
    /* Two clocks may make it more than all */
    const BenchSpan awake = { .start_us = 1000, .end_us = 11000,
                              .awake_us = 10100 };

    g_assert_cmpfloat(bench_span_held_ms(&gap), ==, 10);
    g_assert_cmpfloat(bench_span_held_ms(&busy), ==, 7.5);
    g_assert_cmpfloat(bench_span_ms(&busy), ==, 10);
    g_assert_cmpfloat(bench_span_held_ms(&awake), ==, 0);
}

static void test_usual(void)
{
    const BenchSpan pause = { .start_us = 500000, .end_us = 600000 };
    g_autoptr(GArray) gaps = g_array_new(false, false, sizeof(BenchSpan));
    g_autoptr(GArray) spans = g_array_new(false, false, sizeof(BenchSpan));

    g_assert_cmpfloat(bench_gaps_usual_ms(gaps, spans, 0), ==, 0);
    /* A pause says nothing of the load */
    g_array_append_val(gaps, pause);
    g_array_append_val(spans, pause);
    g_assert_cmpfloat(bench_gaps_usual_ms(gaps, spans, 0), ==, 0);
    for (int i = 1; i <= 100; i++) {
        BenchSpan gap = {
            .start_us = 1000000 * i, .end_us = 1000000 * i + 2000 * i,
            .awake_us = 1000 * i,
        };

        g_array_prepend_val(gaps, gap);
    }
    g_assert_cmpfloat_with_epsilon(bench_gaps_usual_ms(gaps, spans, 0), 99, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/bench/pause/events", test_events);
    g_test_add_func("/colo/bench/pause/overlap", test_overlap);
    g_test_add_func("/colo/bench/pause/held", test_held);
    g_test_add_func("/colo/bench/pause/usual", test_usual);
    g_test_add_func("/colo/bench/pause/bound", test_bound);
    return g_test_run();
}
