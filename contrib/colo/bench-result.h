/*
 * What the bench has measured: samples, by metric, variant and round
 *
 * The runners (bench-*.c) add samples in the metric's unit; the reports
 * (table, JSON, pictures) read them.  Knows neither how a figure was measured
 * nor how it is shown.
 *
 * Thread: none of its own, no locks; one caller at a time.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_RESULT_H
#define COLO_BENCH_RESULT_H

typedef enum BenchVariant {
    BENCH_A,          /* the build under test: ours */
    BENCH_B,          /* what it is compared with: the baseline */
    BENCH_ALONE,      /* the same guest and devices, no replication */
    BENCH_LIMIT,      /* what this machine can do at best */
    BENCH_VARIANTS
} BenchVariant;

typedef enum BenchKind {
    BENCH_DISTRIBUTION,  /* many samples per round: p50, p99, max */
    BENCH_SCALAR,        /* one sample per round; of several, their median */
    BENCH_SERIES,        /* points in time: drawn, never compared */
} BenchKind;

/* One row of the table in bench-metrics.c */
typedef struct BenchMetric {
    const char *name;    /* e.g. "pause.idle"; stable, used in JSON */
    const char *title;   /* what people read */
    const char *unit;    /* "ms", "MB/s" (10^6 bytes), "1/s", "", ... */
    BenchKind kind;
    bool higher_is_better;
    const char *limit;   /* the metric (of BENCH_LIMIT) it is set against */
} BenchMetric;

extern const BenchMetric bench_metrics[];
extern const size_t bench_metrics_count;

/* NULL where there is none of that name. */
const BenchMetric *bench_metric_find(const char *name);

typedef struct BenchResults BenchResults;

BenchResults *bench_results_new(void);
void bench_results_free(BenchResults *results);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(BenchResults, bench_results_free)

/*
 * @metric must be in the table; @value is finite, in the metric's unit, and
 * not negative unless it belongs to a series.
 */
void bench_results_add(BenchResults *results, const char *metric,
                       BenchVariant variant, unsigned round, double value);

/*
 * Says why @metric has no figure for @variant ("the baseline hangs at ...").
 * Shown in every report; the first reason stays.
 */
void bench_results_missing(BenchResults *results, const char *metric,
                           BenchVariant variant, const char *why);

/* What bench_results_missing() was told, or NULL. */
const char *bench_results_why(const BenchResults *results, const char *metric,
                              BenchVariant variant);

/*
 * The samples of one round, in the order added; *@count is 0 where there are
 * none.  Valid until the next call that adds to @results.
 */
const double *bench_results_samples(const BenchResults *results,
                                    const char *metric, BenchVariant variant,
                                    unsigned round, size_t *count);

/* Highest round number with a sample, plus one. */
unsigned bench_results_rounds(const BenchResults *results);

#endif
