/*
 * From samples to figures: percentiles, medians over rounds, ratios
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-stats.h"

static const double figure_p[BENCH_FIGURES] = {
    [BENCH_P50] = 0.5,
    [BENCH_P99] = 0.99,
    [BENCH_MAX] = 1,
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void bench_sort(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
}

double bench_percentile(const double *sorted, size_t count, double p)
{
    /* 0.99 * 100 is a little more than 99 */
    size_t rank = ceil(p * count - 0.000001);

    return sorted[MIN(MAX(rank, 1), count) - 1];
}

/* The mean of the middle two where there is no middle one */
static double median(const double *sorted, size_t count)
{
    double low = sorted[(count - 1) / 2], high = sorted[count / 2];

    return low == high ? low : (low + high) / 2;
}

int bench_figures(const BenchMetric *metric)
{
    switch (metric->kind) {
    case BENCH_DISTRIBUTION:
        return BENCH_FIGURES;
    case BENCH_SCALAR:
        return 1;
    default:
        return 0;
    }
}

const char *bench_figure_name(const BenchMetric *metric, BenchFigure figure)
{
    static const char *const names[BENCH_FIGURES] = {
        [BENCH_P50] = "p50",
        [BENCH_P99] = "p99",
        [BENCH_MAX] = "max",
    };

    return metric->kind == BENCH_SCALAR ? "value" : names[figure];
}

const char *bench_verdict_name(BenchVerdict verdict)
{
    static const char *const names[] = {
        [BENCH_NO_VERDICT] = "none",
        [BENCH_TOO_FEW] = "too few rounds",
        [BENCH_TIE] = "tie",
        [BENCH_BETTER] = "better",
        [BENCH_WORSE] = "worse",
    };

    return names[verdict];
}

bool bench_round_figure(const BenchResults *results, const BenchMetric *metric,
                        BenchVariant variant, unsigned round,
                        BenchFigure figure, double *value)
{
    g_autofree double *sorted = NULL;
    const double *samples;
    size_t count;

    samples = bench_results_samples(results, metric->name, variant, round,
                                    &count);
    if (!count) {
        return false;
    }
    sorted = g_new(double, count);
    memcpy(sorted, samples, count * sizeof(*sorted));
    bench_sort(sorted, count);
    *value = metric->kind == BENCH_SCALAR ? median(sorted, count) :
             bench_percentile(sorted, count, figure_p[figure]);
    return true;
}

BenchSummary bench_summary(const BenchResults *results,
                           const BenchMetric *metric, BenchVariant variant,
                           BenchFigure figure)
{
    unsigned rounds = bench_results_rounds(results);
    g_autofree double *values = g_new(double, rounds);
    BenchSummary summary = { };
    size_t count;

    for (unsigned i = 0; i < rounds; i++) {
        if (bench_round_figure(results, metric, variant, i, figure,
                               &values[summary.rounds])) {
            bench_results_samples(results, metric->name, variant, i, &count);
            summary.samples += count;
            summary.rounds++;
        }
    }
    if (summary.rounds) {
        bench_sort(values, summary.rounds);
        summary.median = median(values, summary.rounds);
        summary.low = values[0];
        summary.high = values[summary.rounds - 1];
    }
    return summary;
}

/* 2 P(Binomial(count, 1/2) < k) */
static double sign_test_error(unsigned count, unsigned k)
{
    double term = exp2(-(double)count), sum = 0;

    for (unsigned i = 0; i < k; i++) {
        sum += term;
        term *= (double)(count - i) / (i + 1);
    }
    return 2 * sum;
}

unsigned bench_interval(unsigned count, double *confidence)
{
    unsigned k = 1;

    while (k + 1 <= count / 2 &&
           1 - sign_test_error(count, k + 1) >= BENCH_CONFIDENCE) {
        k++;
    }
    *confidence = MAX(1 - sign_test_error(count, k), 0);
    return k;
}

static BenchVerdict verdict(const BenchMetric *metric, const BenchRatio *ratio)
{
    bool higher = ratio->low > 1 && ratio->median > 1 + BENCH_RESOLUTION;
    bool lower = ratio->high < 1 && ratio->median < 1 - BENCH_RESOLUTION;

    if (ratio->confidence < BENCH_CONFIDENCE) {
        return BENCH_TOO_FEW;
    }
    if (!higher && !lower) {
        return BENCH_TIE;
    }
    return higher == metric->higher_is_better ? BENCH_BETTER : BENCH_WORSE;
}

static double divide(double a, double b)
{
    if (b == 0) {
        return a == 0 ? 1 : INFINITY;
    }
    return a / b;
}

BenchRatio bench_ratio(const BenchResults *results, const BenchMetric *metric,
                       BenchFigure figure)
{
    unsigned rounds = bench_results_rounds(results), k;
    g_autofree double *ratios = g_new(double, rounds);
    BenchRatio ratio = { .verdict = BENCH_NO_VERDICT };
    double a, b;

    for (unsigned i = 0; i < rounds; i++) {
        if (bench_round_figure(results, metric, BENCH_A, i, figure, &a) &&
            bench_round_figure(results, metric, BENCH_B, i, figure, &b)) {
            ratios[ratio.rounds++] = divide(a, b);
        }
    }
    if (ratio.rounds) {
        bench_sort(ratios, ratio.rounds);
        k = bench_interval(ratio.rounds, &ratio.confidence);
        ratio.median = median(ratios, ratio.rounds);
        ratio.low = ratios[k - 1];
        ratio.high = ratios[ratio.rounds - k];
        ratio.verdict = verdict(metric, &ratio);
    }
    return ratio;
}

double bench_limit_ratio(const BenchResults *results,
                         const BenchMetric *metric, BenchVariant variant,
                         BenchFigure figure)
{
    const BenchMetric *limit;
    BenchSummary ours, best;

    if (!metric->limit) {
        return 0;
    }
    limit = bench_metric_find(metric->limit);
    ours = bench_summary(results, metric, variant, figure);
    best = bench_summary(results, limit, BENCH_LIMIT,
                         bench_figures(limit) > figure ? figure : BENCH_P50);
    return ours.rounds && best.rounds && best.median > 0 ?
           ours.median / best.median : 0;
}
