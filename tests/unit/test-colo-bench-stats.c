/*
 * Tests of bench-stats.c: samples of a known distribution must give the
 * known figures, and verdicts must be wrong as often as is said
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-stats.h"

static const BenchMetric *metric(const char *name)
{
    const BenchMetric *metric = bench_metric_find(name);

    g_assert_nonnull(metric);
    return metric;
}

static void test_percentile(void)
{
    double values[1000];

    for (int i = 0; i < 1000; i++) {
        values[i] = i + 1;
    }
    g_assert_cmpfloat(bench_percentile(values, 1000, 0.5), ==, 500);
    g_assert_cmpfloat(bench_percentile(values, 1000, 0.99), ==, 990);
    g_assert_cmpfloat(bench_percentile(values, 1000, 1), ==, 1000);
    g_assert_cmpfloat(bench_percentile(values, 100, 0.99), ==, 99);
    g_assert_cmpfloat(bench_percentile(values, 99, 0.99), ==, 99);
    g_assert_cmpfloat(bench_percentile(values, 3, 0.5), ==, 2);
    g_assert_cmpfloat(bench_percentile(values, 1, 0.5), ==, 1);
    g_assert_cmpfloat(bench_percentile(values, 1, 0.001), ==, 1);
}

/* Against the tables of the binomial distribution with p = 1/2 */
static void test_interval(void)
{
    static const struct {
        unsigned count, k;
        double confidence;
    } cases[] = {
        { 1, 1, 0 },           { 2, 1, 0.5 },      { 3, 1, 0.75 },
        { 4, 1, 0.875 },       { 5, 1, 0.9375 },   { 6, 1, 0.96875 },
        { 7, 1, 0.984375 },    { 8, 2, 0.9296875 }, { 9, 2, 0.9609375 },
        { 10, 2, 0.978515625 }, { 11, 3, 0.9345703125 },
        { 20, 6, 0.9586105346679688 },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        double confidence;

        g_assert_cmpint(bench_interval(cases[i].count, &confidence), ==,
                        cases[i].k);
        g_assert_cmpfloat_with_epsilon(confidence, cases[i].confidence, 1 / 1e12);
    }
}

/* One pair per round, the rest of the arguments */
static BenchRatio ratio_of(const char *name, int rounds, const double *a,
                           const double *b)
{
    g_autoptr(BenchResults) results = bench_results_new();

    for (int i = 0; i < rounds; i++) {
        if (a[i] >= 0) {
            bench_results_add(results, name, BENCH_A, i, a[i]);
        }
        if (b[i] >= 0) {
            bench_results_add(results, name, BENCH_B, i, b[i]);
        }
    }
    return bench_ratio(results, metric(name), BENCH_P50);
}

static void test_verdicts(void)
{
    const double ten[] = { 10, 10, 10, 10, 10, 10 };
    const double zero[] = { 0, 0, 0, 0, 0, 0 };
    const double faster[] = { 5, 6, 5, 4, 5, 5 };
    const double slower[] = { 20, 40, 30, 12, 25, 30 };
    const double mixed[] = { 9, 8, 9, 11, 9, 9 };
    const double hair[] = { 10.1, 10.05, 10.2, 10.15, 10.1, 10.1 };
    const double holes[] = { 5, -1, 6, 5, 5, -1 };
    BenchRatio ratio;

    ratio = ratio_of("echo.rtt", 5, faster, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_BETTER);
    g_assert_cmpint(ratio.rounds, ==, 5);
    g_assert_cmpfloat(ratio.median, ==, 0.5);
    g_assert_cmpfloat(ratio.low, ==, 0.4);
    g_assert_cmpfloat(ratio.high, ==, 0.6);
    g_assert_cmpfloat(ratio.confidence, ==, 0.9375);
    ratio = ratio_of("requests.rate", 5, faster, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_WORSE);
    ratio = ratio_of("echo.rtt", 5, slower, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_WORSE);
    g_assert_cmpfloat(ratio.median, ==, 2.5);
    ratio = ratio_of("requests.rate", 5, slower, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_BETTER);
    ratio = ratio_of("echo.rtt", 5, mixed, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_TIE);
    /* Always more, but not by so much that anybody would care */
    ratio = ratio_of("echo.rtt", 5, hair, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_TIE);

    ratio = ratio_of("echo.rtt", 4, faster, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_TOO_FEW);
    g_assert_cmpfloat(ratio.median, ==, 0.5);
    /* What counts are the rounds that have both. */
    ratio = ratio_of("echo.rtt", 6, holes, ten);
    g_assert_cmpint(ratio.rounds, ==, 4);
    g_assert_cmpint(ratio.verdict, ==, BENCH_TOO_FEW);
    ratio = ratio_of("echo.rtt", 0, ten, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_NO_VERDICT);

    ratio = ratio_of("resync.1m.stopped", 5, zero, ten);
    g_assert_cmpint(ratio.verdict, ==, BENCH_BETTER);
    g_assert_cmpfloat(ratio.median, ==, 0);
    ratio = ratio_of("resync.1m.stopped", 5, ten, zero);
    g_assert_cmpint(ratio.verdict, ==, BENCH_WORSE);
    g_assert_true(isinf(ratio.median));
    ratio = ratio_of("resync.1m.stopped", 5, zero, zero);
    g_assert_cmpint(ratio.verdict, ==, BENCH_TIE);
    g_assert_cmpfloat(ratio.median, ==, 1);
}

/* The one with the mean of 1 has a long tail, as pauses have. */
static double exponential(GRand *rand, double mean)
{
    return -log(1 - g_rand_double(rand)) * mean;
}

static double normal(GRand *rand)
{
    return sqrt(-2 * log(1 - g_rand_double(rand))) *
           cos(2 * M_PI * g_rand_double(rand));
}

/* An exponential distribution's quantile is -ln(1 - p) times its mean. */
static void test_distribution(void)
{
    g_autoptr(BenchResults) results = bench_results_new();
    g_autoptr(GRand) rand = g_rand_new_with_seed(20260101);
    const BenchMetric *pause = metric("pause.idle");
    BenchSummary summary;
    BenchRatio ratio;

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 20000; i++) {
            bench_results_add(results, "pause.idle", BENCH_A, round,
                              exponential(rand, 3));
            bench_results_add(results, "pause.idle", BENCH_B, round,
                              exponential(rand, 12));
        }
        bench_results_add(results, "limit.device-state", BENCH_LIMIT, round,
                          1.5);
    }
    summary = bench_summary(results, pause, BENCH_A, BENCH_P50);
    g_assert_cmpint(summary.rounds, ==, 5);
    g_assert_cmpint(summary.samples, ==, 100000);
    g_assert_cmpfloat_with_epsilon(summary.median, 3 * log(2), 0.05);
    g_assert_cmpfloat(summary.low, <=, summary.median);
    g_assert_cmpfloat(summary.high, >=, summary.median);
    summary = bench_summary(results, pause, BENCH_A, BENCH_P99);
    g_assert_cmpfloat_with_epsilon(summary.median, 3 * log(100), 0.5);
    summary = bench_summary(results, pause, BENCH_A, BENCH_MAX);
    g_assert_cmpfloat(summary.median, >, 3 * log(1000));

    ratio = bench_ratio(results, pause, BENCH_P50);
    g_assert_cmpint(ratio.verdict, ==, BENCH_BETTER);
    g_assert_cmpfloat_with_epsilon(ratio.median, 0.25, 0.01);
    g_assert_cmpfloat(ratio.low, <=, ratio.median);
    g_assert_cmpfloat(ratio.high, >=, ratio.median);
    ratio = bench_ratio(results, pause, BENCH_P99);
    g_assert_cmpint(ratio.verdict, ==, BENCH_BETTER);

    g_assert_cmpfloat_with_epsilon(
        bench_limit_ratio(results, pause, BENCH_B, BENCH_P50),
        12 * log(2) / 1.5, 0.2);
    g_assert_cmpfloat(bench_limit_ratio(results, pause, BENCH_ALONE,
                                        BENCH_P50), ==, 0);
    g_assert_cmpfloat(bench_limit_ratio(results, metric("echo.rtt"), BENCH_A,
                                        BENCH_P50), ==, 0);
}

/* A scalar's p50 is its value: one of the "figures" only. */
static void test_kinds(void)
{
    g_autoptr(BenchResults) results = bench_results_new();
    double value = -1;

    g_assert_cmpint(bench_figures(metric("pause.idle")), ==, 3);
    g_assert_cmpint(bench_figures(metric("disk.read")), ==, 1);
    g_assert_cmpint(bench_figures(metric("failover.answers")), ==, 0);

    g_assert_false(bench_round_figure(results, metric("disk.read"), BENCH_A, 0,
                                      BENCH_P50, &value));
    g_assert_cmpfloat(value, ==, -1);
    bench_results_add(results, "disk.read", BENCH_A, 0, 9);
    bench_results_add(results, "disk.read", BENCH_A, 0, 3);
    bench_results_add(results, "disk.read", BENCH_A, 0, 5);
    bench_results_add(results, "disk.read", BENCH_A, 0, 7);
    g_assert_true(bench_round_figure(results, metric("disk.read"), BENCH_A, 0,
                                     BENCH_P50, &value));
    g_assert_cmpfloat(value, ==, 6);
}

/*
 * @runs benches of @rounds each: the machine drifts by up to a third from
 * round to round, each build scatters by 8 % besides, A's true figure is
 * @factor times B's.  Returns how many are a tie.
 */
static int count_ties(GRand *rand, int runs, int rounds, double factor)
{
    int ties = 0;

    for (int run = 0; run < runs; run++) {
        double a[32], b[32];

        g_assert_cmpint(rounds, <=, 32);
        for (int i = 0; i < rounds; i++) {
            double machine = 10 * exp(0.3 * normal(rand));

            a[i] = machine * factor * exp(0.08 * normal(rand));
            b[i] = machine * exp(0.08 * normal(rand));
        }
        ties += ratio_of("echo.rtt", rounds, a, b).verdict == BENCH_TIE;
    }
    return ties;
}

/*
 * Without any difference, a verdict other than a tie is wrong.  That may
 * happen as often as the sign test says, less what the resolution forgives;
 * four standard deviations are allowed for chance, and the seed is fixed.
 */
static void test_error_rate(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    const int counts[] = { 5, 8, 12 }, runs = 4000;

    for (int i = 0; i < ARRAY_SIZE(counts); i++) {
        double confidence, wrong, most;

        bench_interval(counts[i], &confidence);
        wrong = runs - count_ties(rand, runs, counts[i], 1);
        most = runs * (1 - confidence);
        g_test_message("%d rounds: %.2f %% wrong, %.2f %% allowed", counts[i],
                       wrong * 100 / runs, most * 100 / runs);
        g_assert_cmpfloat(wrong, <=, most + 4 * sqrt(most));
        /* A test which never finds anything would also pass the above. */
        g_assert_cmpfloat(wrong, >, most / 4);
    }
}

/* What is clearly there is found, in five rounds and on a drifting machine. */
static void test_power(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(8);

    g_assert_cmpint(count_ties(rand, 1000, 5, 0.6), <, 10);
    g_assert_cmpint(count_ties(rand, 1000, 5, 1.6), <, 10);
    g_assert_cmpint(count_ties(rand, 1000, 12, 0.85), <, 50);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-stats/percentile", test_percentile);
    g_test_add_func("/bench-stats/interval", test_interval);
    g_test_add_func("/bench-stats/verdicts", test_verdicts);
    g_test_add_func("/bench-stats/distribution", test_distribution);
    g_test_add_func("/bench-stats/kinds", test_kinds);
    g_test_add_func("/bench-stats/error-rate", test_error_rate);
    g_test_add_func("/bench-stats/power", test_power);
    return g_test_run();
}
