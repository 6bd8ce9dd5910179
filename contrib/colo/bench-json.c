/*
 * The results for machines
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qnum.h"
#include "bench-json.h"
#include "bench-stats.h"

static const char *const variant_names[BENCH_VARIANTS] = {
    [BENCH_A] = "a",
    [BENCH_B] = "b",
    [BENCH_ALONE] = "alone",
    [BENCH_LIMIT] = "limit",
};

static const char *const kind_names[] = {
    [BENCH_DISTRIBUTION] = "distribution",
    [BENCH_SCALAR] = "scalar",
    [BENCH_SERIES] = "series",
};

/* JSON knows no infinity: such a member is left out. */
static void put_number(QDict *dict, const char *name, double value)
{
    if (isfinite(value)) {
        qdict_put(dict, name, qnum_from_double(value));
    }
}

static QDict *json_summary(const BenchSummary *summary)
{
    QDict *dict = qdict_new();

    put_number(dict, "median", summary->median);
    put_number(dict, "low", summary->low);
    put_number(dict, "high", summary->high);
    return dict;
}

static QDict *json_ratio(const BenchRatio *ratio)
{
    QDict *dict = qdict_new();

    put_number(dict, "median", ratio->median);
    put_number(dict, "low", ratio->low);
    put_number(dict, "high", ratio->high);
    put_number(dict, "confidence", ratio->confidence);
    qdict_put_int(dict, "rounds", ratio->rounds);
    qdict_put_str(dict, "verdict", bench_verdict_name(ratio->verdict));
    return dict;
}

static QDict *json_round(const double *samples, size_t count, unsigned round)
{
    QDict *dict = qdict_new();
    QList *list = qlist_new();

    for (size_t i = 0; i < count; i++) {
        qlist_append(list, qnum_from_double(samples[i]));
    }
    qdict_put_int(dict, "round", round);
    qdict_put(dict, "samples", list);
    return dict;
}

static QList *json_rounds(const BenchResults *results, const char *metric,
                          BenchVariant variant)
{
    QList *list = qlist_new();

    for (unsigned i = 0; i < bench_results_rounds(results); i++) {
        size_t count;
        const double *samples = bench_results_samples(results, metric, variant,
                                                      i, &count);

        if (count) {
            qlist_append(list, json_round(samples, count, i));
        }
    }
    return list;
}

static QDict *json_figures(const BenchResults *results,
                           const BenchMetric *metric, BenchVariant variant)
{
    QDict *dict = qdict_new();

    for (int i = 0; i < bench_figures(metric); i++) {
        BenchSummary summary = bench_summary(results, metric, variant, i);

        if (summary.rounds) {
            qdict_put(dict, bench_figure_name(metric, i),
                      json_summary(&summary));
        }
    }
    return dict;
}

static QDict *json_ratios(const BenchResults *results,
                          const BenchMetric *metric)
{
    QDict *dict = qdict_new();

    for (int i = 0; i < bench_figures(metric); i++) {
        BenchRatio ratio = bench_ratio(results, metric, i);

        if (ratio.rounds) {
            qdict_put(dict, bench_figure_name(metric, i), json_ratio(&ratio));
        }
    }
    return dict;
}

static QDict *json_to_limit(const BenchResults *results,
                            const BenchMetric *metric, BenchVariant variant)
{
    QDict *dict = qdict_new();

    for (int i = 0; i < bench_figures(metric); i++) {
        double ratio = bench_limit_ratio(results, metric, variant, i);

        if (ratio) {
            put_number(dict, bench_figure_name(metric, i), ratio);
        }
    }
    return dict;
}

/* NULL where nothing is known of it. */
static QDict *json_variant(const BenchResults *results,
                           const BenchMetric *metric, BenchVariant variant)
{
    const char *why = bench_results_why(results, metric->name, variant);
    QList *rounds = json_rounds(results, metric->name, variant);
    QDict *dict;

    if (qlist_empty(rounds) && !why) {
        qobject_unref(rounds);
        return NULL;
    }
    dict = qdict_new();
    if (why) {
        qdict_put_str(dict, "missing", why);
    }
    qdict_put(dict, "figures", json_figures(results, metric, variant));
    qdict_put(dict, "to-limit", json_to_limit(results, metric, variant));
    qdict_put(dict, "rounds", rounds);
    return dict;
}

static QDict *json_metric(const BenchResults *results,
                          const BenchMetric *metric)
{
    QDict *dict = qdict_new(), *variants = qdict_new();

    qdict_put_str(dict, "name", metric->name);
    qdict_put_str(dict, "title", metric->title);
    qdict_put_str(dict, "unit", metric->unit);
    qdict_put_str(dict, "kind", kind_names[metric->kind]);
    qdict_put_str(dict, "better", metric->higher_is_better ? "higher" :
                                                             "lower");
    if (metric->limit) {
        qdict_put_str(dict, "limit", metric->limit);
    }
    for (int i = 0; i < BENCH_VARIANTS; i++) {
        QDict *variant = json_variant(results, metric, i);

        if (variant) {
            qdict_put(variants, variant_names[i], variant);
        }
    }
    qdict_put(dict, "variants", variants);
    qdict_put(dict, "ratios", json_ratios(results, metric));
    return dict;
}

static QDict *json_build(const char *name, const char *version)
{
    QDict *dict = qdict_new();

    qdict_put_str(dict, "name", name);
    qdict_put_str(dict, "version", version);
    return dict;
}

QDict *bench_json(const BenchResults *results, const BenchReportInfo *info)
{
    QDict *dict = qdict_new();
    QList *metrics = qlist_new();

    for (size_t i = 0; i < bench_metrics_count; i++) {
        qlist_append(metrics, json_metric(results, &bench_metrics[i]));
    }
    qdict_put_int(dict, "format", BENCH_JSON_FORMAT);
    qdict_put_str(dict, "date", info->date);
    qdict_put_str(dict, "machine", info->machine);
    qdict_put_str(dict, "settings", info->settings);
    qdict_put(dict, "a", json_build(info->a_name, info->a_version));
    qdict_put(dict, "b", json_build(info->b_name, info->b_version));
    qdict_put_int(dict, "rounds", bench_results_rounds(results));
    put_number(dict, "confidence", BENCH_CONFIDENCE);
    put_number(dict, "resolution", BENCH_RESOLUTION);
    qdict_put(dict, "metrics", metrics);
    return dict;
}
