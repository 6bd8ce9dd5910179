/*
 * From samples to figures: percentiles, medians over rounds, ratios
 *
 * A round gives one figure per metric and variant: the p50, p99 or maximum of
 * its samples (nearest rank: a value that was measured).  A figure of the
 * whole run is the median over its rounds.
 *
 * Builds are compared round by round, since the machine changes from one
 * minute to the next: in each round the ratio A/B, over the rounds the median
 * of the ratios.  Its spread is the sign test's interval: of n ratios in
 * order, the k-th to the k-th from the end hold the true median with the
 * probability 1 - 2 P(Binomial(n, 1/2) < k), whatever the distribution.  We
 * take the narrowest with at least 90 %; with five rounds that is all of
 * them, and 93.75 %.  Less than five rounds decide nothing.
 *
 * (Sign test and its interval: W. J. Conover, Practical Nonparametric
 * Statistics, 3rd ed., sections 3.2 and 3.4.)
 *
 * Pure.  Thread: any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_STATS_H
#define COLO_BENCH_STATS_H

#include "bench-result.h"

/* At least this sure, or there is no verdict */
#define BENCH_CONFIDENCE 0.9
/* What differs by less than 2 % is equal for us, however sure it is. */
#define BENCH_RESOLUTION 0.02

typedef enum BenchFigure {
    BENCH_P50,        /* for a scalar: the value */
    BENCH_P99,
    BENCH_MAX,
    BENCH_FIGURES
} BenchFigure;

typedef enum BenchVerdict {
    BENCH_NO_VERDICT,  /* one side has no figure */
    BENCH_TOO_FEW,     /* rounds */
    BENCH_TIE,         /* inside the noise, or within the resolution */
    BENCH_BETTER,      /* A is better than B, outside the noise */
    BENCH_WORSE,
} BenchVerdict;

typedef struct BenchSummary {
    unsigned rounds;   /* that have samples; 0: no figure, all else is 0 */
    size_t samples;    /* in all of them */
    double median;     /* of the rounds' figures */
    double low, high;  /* the smallest and the greatest of them */
} BenchSummary;

typedef struct BenchRatio {
    unsigned rounds;   /* in which both have samples; 0: no ratio */
    double median;     /* of A/B; INFINITY where B is 0 and A is not */
    double low, high;  /* the interval around it */
    double confidence; /* that the interval holds the true median */
    BenchVerdict verdict;
} BenchRatio;

/* In ascending order */
void bench_sort(double *values, size_t count);
/*
 * The value below or at which @p (0 to 1) of the @count samples lie.
 * @sorted is in ascending order, @count not 0.
 */
double bench_percentile(const double *sorted, size_t count, double p);

/* Number of figures that @metric has: 0 for a series, 1 for a scalar, or 3. */
int bench_figures(const BenchMetric *metric);

/* "p50", "p99", "max"; "value" for a scalar's. */
const char *bench_figure_name(const BenchMetric *metric, BenchFigure figure);

/* "better", "worse", "tie", "too few rounds", "none". */
const char *bench_verdict_name(BenchVerdict verdict);

/* A round's figure; false, and *@value unchanged, where there is no sample. */
bool bench_round_figure(const BenchResults *results, const BenchMetric *metric,
                        BenchVariant variant, unsigned round,
                        BenchFigure figure, double *value);

BenchSummary bench_summary(const BenchResults *results,
                           const BenchMetric *metric, BenchVariant variant,
                           BenchFigure figure);

BenchRatio bench_ratio(const BenchResults *results, const BenchMetric *metric,
                       BenchFigure figure);

/*
 * The run's figure of @variant to that of the metric's limit; a limit with
 * a single figure stands for all.  Returns 0 where one is missing.
 */
double bench_limit_ratio(const BenchResults *results,
                         const BenchMetric *metric, BenchVariant variant,
                         BenchFigure figure);

/*
 * The sign test: the k (from 1) of the interval for @count ratios, and how
 * sure it is.  With few of them k is 1 and the confidence below
 * BENCH_CONFIDENCE.  @count is not 0.
 */
unsigned bench_interval(unsigned count, double *confidence);

#endif
