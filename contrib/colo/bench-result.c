/*
 * What the bench has measured: samples, by metric, variant and round
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-result.h"

/* All of one metric and variant. */
typedef struct Cell {
    GPtrArray *rounds;    /* by number; of GArray of double, or NULL */
    char *why;
} Cell;

struct BenchResults {
    Cell *cells;          /* [metric][variant] */
    unsigned rounds;
};

static void round_free(gpointer round)
{
    if (round) {
        g_array_unref(round);
    }
}

const BenchMetric *bench_metric_find(const char *name)
{
    for (size_t i = 0; i < bench_metrics_count; i++) {
        if (g_str_equal(bench_metrics[i].name, name)) {
            return &bench_metrics[i];
        }
    }
    return NULL;
}

BenchResults *bench_results_new(void)
{
    BenchResults *results = g_new0(BenchResults, 1);

    results->cells = g_new0(Cell, bench_metrics_count * BENCH_VARIANTS);
    for (size_t i = 0; i < bench_metrics_count * BENCH_VARIANTS; i++) {
        results->cells[i].rounds = g_ptr_array_new_with_free_func(round_free);
    }
    return results;
}

void bench_results_free(BenchResults *results)
{
    if (!results) {
        return;
    }
    for (size_t i = 0; i < bench_metrics_count * BENCH_VARIANTS; i++) {
        g_ptr_array_unref(results->cells[i].rounds);
        g_free(results->cells[i].why);
    }
    g_free(results->cells);
    g_free(results);
}

static Cell *cell_find(const BenchResults *results, const char *name,
                       BenchVariant variant)
{
    const BenchMetric *metric = bench_metric_find(name);

    /* Names are literals of our own: a wrong one is a bug. */
    if (!metric) {
        g_error("the bench has no metric '%s'", name);
    }
    assert(variant < BENCH_VARIANTS);
    return &results->cells[(metric - bench_metrics) * BENCH_VARIANTS + variant];
}

void bench_results_add(BenchResults *results, const char *metric,
                       BenchVariant variant, unsigned round, double value)
{
    Cell *cell = cell_find(results, metric, variant);

    assert(isfinite(value));
    assert(value >= 0 || bench_metric_find(metric)->kind == BENCH_SERIES);
    if (cell->rounds->len <= round) {
        g_ptr_array_set_size(cell->rounds, round + 1);
    }
    if (!cell->rounds->pdata[round]) {
        cell->rounds->pdata[round] = g_array_new(FALSE, FALSE, sizeof(double));
    }
    g_array_append_val((GArray *)cell->rounds->pdata[round], value);
    results->rounds = MAX(results->rounds, round + 1);
}

void bench_results_missing(BenchResults *results, const char *metric,
                           BenchVariant variant, const char *why)
{
    Cell *cell = cell_find(results, metric, variant);

    if (!cell->why) {
        cell->why = g_strdup(why);
    }
}

const char *bench_results_why(const BenchResults *results, const char *metric,
                              BenchVariant variant)
{
    return cell_find(results, metric, variant)->why;
}

const double *bench_results_samples(const BenchResults *results,
                                    const char *metric, BenchVariant variant,
                                    unsigned round, size_t *count)
{
    Cell *cell = cell_find(results, metric, variant);
    GArray *samples;

    *count = 0;
    if (round >= cell->rounds->len || !cell->rounds->pdata[round]) {
        return NULL;
    }
    samples = cell->rounds->pdata[round];
    *count = samples->len;
    return (const double *)samples->data;
}

unsigned bench_results_rounds(const BenchResults *results)
{
    return results->rounds;
}
