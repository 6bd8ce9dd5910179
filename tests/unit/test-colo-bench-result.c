/*
 * Tests of bench-result.c and of the table in bench-metrics.c
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-result.h"

static void check_metric(const BenchMetric *metric)
{
    const BenchMetric *limit;

    g_assert_nonnull(metric->name);
    g_assert_cmpint(strlen(metric->title), >, 0);
    g_assert_nonnull(metric->unit);
    /* Also that names are unique */
    g_assert_true(bench_metric_find(metric->name) == metric);
    if (metric->limit) {
        limit = bench_metric_find(metric->limit);
        g_assert_nonnull(limit);
        /* Or the ratio would mean nothing */
        g_assert_cmpstr(limit->unit, ==, metric->unit);
        g_assert_cmpint(limit->higher_is_better, ==, metric->higher_is_better);
        g_assert_null(limit->limit);
    }
}

static void test_metrics(void)
{
    g_assert_cmpint(bench_metrics_count, >, 0);
    for (size_t i = 0; i < bench_metrics_count; i++) {
        check_metric(&bench_metrics[i]);
    }
    g_assert_null(bench_metric_find("pause"));
    g_assert_null(bench_metric_find(""));
}

static void test_samples(void)
{
    g_autoptr(BenchResults) results = bench_results_new();
    const double *samples;
    size_t count = 99;

    g_assert_null(bench_results_samples(results, "echo.rtt", BENCH_A, 0,
                                        &count));
    g_assert_cmpint(count, ==, 0);
    g_assert_cmpint(bench_results_rounds(results), ==, 0);

    bench_results_add(results, "echo.rtt", BENCH_A, 2, 3.5);
    bench_results_add(results, "echo.rtt", BENCH_A, 2, 0);
    bench_results_add(results, "failover.answers", BENCH_A, 1, -40);
    bench_results_add(results, "echo.rtt", BENCH_B, 0, 7);
    g_assert_cmpint(bench_results_rounds(results), ==, 3);

    samples = bench_results_samples(results, "echo.rtt", BENCH_A, 2, &count);
    g_assert_cmpint(count, ==, 2);
    g_assert_cmpfloat(samples[0], ==, 3.5);
    g_assert_cmpfloat(samples[1], ==, 0);
    samples = bench_results_samples(results, "echo.rtt", BENCH_B, 0, &count);
    g_assert_cmpint(count, ==, 1);
    g_assert_cmpfloat(samples[0], ==, 7);

    /* A round between, one after the last, another variant and metric */
    bench_results_samples(results, "echo.rtt", BENCH_A, 1, &count);
    g_assert_cmpint(count, ==, 0);
    bench_results_samples(results, "echo.rtt", BENCH_A, 3, &count);
    g_assert_cmpint(count, ==, 0);
    bench_results_samples(results, "echo.rtt", BENCH_ALONE, 2, &count);
    g_assert_cmpint(count, ==, 0);
    bench_results_samples(results, "udp.rtt", BENCH_A, 2, &count);
    g_assert_cmpint(count, ==, 0);
}

static void test_missing(void)
{
    g_autoptr(BenchResults) results = bench_results_new();

    g_assert_null(bench_results_why(results, "hold", BENCH_B));
    bench_results_missing(results, "hold", BENCH_B, "it hangs");
    bench_results_missing(results, "hold", BENCH_B, "and hangs again");
    g_assert_cmpstr(bench_results_why(results, "hold", BENCH_B), ==,
                    "it hangs");
    g_assert_null(bench_results_why(results, "hold", BENCH_A));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-result/metrics", test_metrics);
    g_test_add_func("/bench-result/samples", test_samples);
    g_test_add_func("/bench-result/missing", test_missing);
    return g_test_run();
}
