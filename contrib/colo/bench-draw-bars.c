/*
 * Pictures of single figures: bars with their spread, and all ratios
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-draw.h"
#include "bench-table.h"

/* A group of bars takes one unit of the vertical axis. */
#define BAR_HALF 0.11
#define BAR_STEP 0.25

static const char *const throughputs[] = {
    "tcp.guest-to-client", "tcp.client-to-guest", "disk.seq-write",
    "disk.seq-write.fsync", "disk.rand-write", "disk.rand-write.fsync",
    "disk.read", "disk.rand-read",
};

static const char *const packets[] = {
    "packet.mirror.rate", "packet.redirector.rate", "packet.compare.rate",
    "packet.filter-compare.rate", "packet.mirror.rate.tso",
    "packet.redirector.rate.tso", "packet.compare.rate.tso",
    "packet.filter-compare.rate.tso",
};

static double greatest(const BenchResults *results, const BenchMetric *metric,
                       const BenchVariant *variants, int count)
{
    double most = 0;

    for (int i = 0; i < count; i++) {
        most = MAX(most, bench_summary(results, metric, variants[i],
                                       BENCH_P50).high);
    }
    return most;
}

/* From 0 to 1, and a thin line over the rounds' spread */
static void draw_bar(GString *script, const BenchSummary *summary, double most,
                     double y, BenchVariant variant)
{
    g_autofree char *value = bench_format(summary->median);
    g_autofree char *at = g_strdup_printf("%g, %g",
                                          summary->high / most + 0.012, y);
    const char *colour = bench_colour(variant);

    g_string_append_printf(script, "set object rectangle from 0, %g to %g, %g "
                           "fs solid 0.85 noborder fc rgb '%s'\n",
                           y - BAR_HALF, summary->median / most, y + BAR_HALF,
                           colour);
    g_string_append_printf(script, "set arrow from %g, %g to %g, %g "
                           "heads size 0.003, 90 lw 1.2 lc rgb '#333333' "
                           "front\n",
                           summary->low / most, y, summary->high / most, y);
    bench_draw_label(script, value, at, colour, "left front font ',11'");
}

/* All bars of one metric around the line @row */
static int draw_group(GString *script, const BenchResults *results,
                      const BenchMetric *metric, const BenchVariant *variants,
                      int count, int row)
{
    double most = greatest(results, metric, variants, count);
    g_autofree char *at = NULL;
    int bars = 0;

    if (most <= 0) {
        return 0;
    }
    for (int i = 0; i < count; i++) {
        BenchSummary summary = bench_summary(results, metric, variants[i],
                                             BENCH_P50);

        if (summary.rounds) {
            draw_bar(script, &summary, most,
                     -row + BAR_STEP * ((count - 1) / 2.0 - i), variants[i]);
            bars++;
        }
    }
    at = g_strdup_printf("-0.02, %d", -row);
    bench_draw_label(script, metric->title, at, "#222222",
                     "right font ',12'");
    return bars;
}

static char *draw_bars(const BenchResults *results,
                       const BenchReportInfo *info, const char *title,
                       const char *subtitle, const char *const *metrics,
                       int metrics_count, const BenchVariant *variants,
                       int count)
{
    GString *script = g_string_new(NULL);
    int rows = 0;

    bench_draw_begin(script, title, subtitle);
    bench_draw_key(script, info, variants, count);
    for (int i = 0; i < metrics_count; i++) {
        if (draw_group(script, results, bench_metric_find(metrics[i]),
                       variants, count, rows)) {
            rows++;
        }
    }
    if (!rows) {
        g_string_free(script, TRUE);
        return NULL;
    }
    g_string_append_printf(script, "unset xtics\nunset ytics\nunset grid\n"
                           "set border 2\nset lmargin screen 0.32\n"
                           "set bmargin 1.5\n"
                           "set xrange [0:1.12]\nset yrange [%g:0.5]\n"
                           "plot NaN\n", 0.5 - rows);
    return g_string_free(script, FALSE);
}

char *bench_draw_throughput(const BenchResults *results,
                            const BenchReportInfo *info)
{
    static const BenchVariant variants[] = { BENCH_A, BENCH_B, BENCH_ALONE };

    return draw_bars(results, info, "Throughput",
                     "MB/s (10\u2076 bytes), more is better; each group has a "
                     "scale of its own, lines are the spread of the rounds",
                     throughputs, ARRAY_SIZE(throughputs), variants,
                     ARRAY_SIZE(variants));
}

char *bench_draw_packets(const BenchResults *results,
                         const BenchReportInfo *info)
{
    static const BenchVariant variants[] = { BENCH_A, BENCH_B };

    return draw_bars(results, info, "Packets per second and core of QEMU",
                     "more is better; each group has a scale of its own, "
                     "lines are the spread of the rounds",
                     packets, ARRAY_SIZE(packets), variants,
                     ARRAY_SIZE(variants));
}

static const char *verdict_colour(BenchVerdict verdict)
{
    switch (verdict) {
    case BENCH_BETTER:
        return bench_colour(BENCH_A);
    case BENCH_WORSE:
        return bench_colour(BENCH_B);
    default:
        return "#888888";
    }
}

/* How many times better, from 0 to INFINITY */
static double factor(const BenchMetric *metric, double ratio)
{
    return metric->higher_is_better ? ratio : 1 / ratio;
}

/* Kept on the picture: none is so much better that it needs more room. */
static double shown(double factor)
{
    return MIN(MAX(factor, 0.001), 1000);
}

typedef struct Ratios {
    GString *script;
    GString *dots;
    double least, most;    /* of what is shown */
    int rows;
} Ratios;

/* The name at the left, the spread as a line, the factor at the right */
static void draw_ratio(Ratios *ratios, const BenchMetric *metric,
                       BenchFigure figure, const BenchRatio *ratio)
{
    const char *colour = verdict_colour(ratio->verdict);
    bool scalar = metric->kind == BENCH_SCALAR;
    double x = factor(metric, ratio->median);
    double begin = shown(factor(metric, ratio->low));
    double end = shown(factor(metric, ratio->high));
    int y = -ratios->rows++;
    g_autofree char *title = g_strdup_printf(
        "%s%s%s", metric->title, scalar ? "" : ", ",
        scalar ? "" : bench_figure_name(metric, figure));
    g_autofree char *number = bench_format(x);
    g_autofree char *value = g_strdup_printf(
        "%s \u00d7%s", number,
        ratio->verdict == BENCH_TIE ? "   tie" :
        ratio->verdict == BENCH_TOO_FEW ? "   ?" : "");
    g_autofree char *left = g_strdup_printf("graph -0.015, first %d", y);
    g_autofree char *right = g_strdup_printf("graph 1.015, first %d", y);

    g_string_append_printf(ratios->script, "set arrow from %g, %d to %g, %d "
                           "nohead lw 2.5 lc rgb '%s'\n", begin, y, end, y,
                           colour);
    g_string_append_printf(ratios->dots, "%g %d 0x%s\n", shown(x), y,
                           colour + 1);
    bench_draw_label(ratios->script, title, left, "#222222",
                     "right font ',10'");
    bench_draw_label(ratios->script, value, right, colour, "left font ',10'");
    ratios->least = MIN(ratios->least, MIN(begin, end));
    ratios->most = MAX(ratios->most, MAX(begin, end));
}

static void draw_all_ratios(Ratios *ratios, const BenchResults *results)
{
    for (size_t i = 0; i < bench_metrics_count; i++) {
        const BenchMetric *metric = &bench_metrics[i];

        for (int j = 0; j < MIN(bench_figures(metric), BENCH_MAX); j++) {
            BenchRatio ratio = bench_ratio(results, metric, j);

            if (ratio.rounds) {
                draw_ratio(ratios, metric, j, &ratio);
            }
        }
    }
}

char *bench_draw_ratios(const BenchResults *results,
                        const BenchReportInfo *info)
{
    g_autofree char *subtitle = g_strdup_printf(
        "how many times better (right of 1) or worse (left) than %s; the "
        "line is the spread, grey a tie", info->b_name);
    g_autofree char *title = g_strdup_printf("%s against %s", info->a_name,
                                             info->b_name);
    Ratios ratios = {
        .script = g_string_new(NULL),
        .dots = g_string_new("$dots << EOD\n"),
        .least = 0.5,
        .most = 2,
    };

    bench_draw_begin(ratios.script, title, subtitle);
    draw_all_ratios(&ratios, results);
    g_string_append(ratios.script, ratios.dots->str);
    g_string_free(ratios.dots, TRUE);
    if (!ratios.rows) {
        g_string_free(ratios.script, TRUE);
        return NULL;
    }
    g_string_append_printf(ratios.script, "EOD\n"
                           "set arrow from 1, graph 0 to 1, graph 1 "
                           "nohead lw 1 lc rgb '#333333' back\n"
                           "set logscale x\nset yrange [%g:0.7]\n"
                           "set xrange [%g:%g]\nset grid noytics\n"
                           "unset ytics\nset border 1\n"
                           "set lmargin screen 0.4\n"
                           "set rmargin screen 0.88\n"
                           "set format x '%%g\u00d7'\n"
                           "plot $dots using 1:2:3 with points pt 7 ps 1.1 "
                           "lc rgb variable\n", 0.3 - ratios.rows,
                           ratios.least / 1.2, ratios.most * 1.2);
    return g_string_free(ratios.script, FALSE);
}
