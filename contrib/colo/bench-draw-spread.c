/*
 * Pictures of distributions: pauses by load, latencies as shares
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-draw.h"
#include "bench-table.h"

/* More dots than that of one cloud, or points of a curve, show nothing new. */
#define MAX_POINTS 600
/* Zero has no place on a logarithmic axis. */
#define LEAST_MS 0.001
/* p99 to p50: closer than that, one figure would be written over the other. */
#define APART 1.15

static const struct {
    const char *metric;
    const char *load;
} pauses[] = {
    { "pause.idle", "idle" },
    { "pause.30", "30 MB/s dirtied" },
    { "pause.100", "100 MB/s dirtied" },
    { "pause.200", "200 MB/s dirtied" },
    { "pause.disk", "disk load" },
    { "pause.net", "network load" },
};

static double sample(const GArray *sorted, double share)
{
    return MAX(bench_percentile((const double *)sorted->data, sorted->len,
                                share), LEAST_MS);
}

typedef struct Range {
    double least, most;
} Range;

static void range_add(Range *range, double value)
{
    range->least = MIN(range->least, value);
    range->most = MAX(range->most, value);
}

/* A cloud of dots around @x, its p50 as a bar with the figure beside it */
static void draw_cloud(GString *script, const GArray *sorted, double x,
                       int number, BenchVariant variant)
{
    unsigned dots = MIN(sorted->len, MAX_POINTS);
    double p50 = sample(sorted, 0.5), p99 = sample(sorted, 0.99);
    g_autofree char *text = bench_format(p50);
    g_autofree char *text99 = bench_format(p99);
    g_autofree char *at = g_strdup_printf("%g, %g", x + 0.17, p50);
    g_autofree char *at99 = g_strdup_printf("%g, %g", x + 0.1, p99);
    const char *colour = bench_colour(variant);

    g_string_append_printf(script, "$cloud%d << EOD\n", number);
    for (unsigned i = 0; i < dots; i++) {
        /* The golden ratio spreads neighbours without any pattern. */
        double jitter = (i * 0.6180339887 - (int)(i * 0.6180339887)) - 0.5;

        g_string_append_printf(script, "%g %g\n", x + 0.2 * jitter,
                               sample(sorted, (i + 1.0) / dots));
    }
    g_string_append(script, "EOD\n");
    g_string_append_printf(script, "set arrow from %g, %g to %g, %g nohead "
                           "lw 3 lc rgb '%s' front\n", x - 0.14, p50, x + 0.14,
                           p50, colour);
    bench_draw_label(script, text, at, colour, "left front font ',11'");
    g_string_append_printf(script, "set arrow from %g, %g to %g, %g nohead "
                           "lw 1.5 lc rgb '%s' front\n", x - 0.07, p99,
                           x + 0.07, p99, colour);
    if (p99 > p50 * APART) {
        bench_draw_label(script, text99, at99, colour,
                         "left front font ',8'");
    }
}

static void draw_limit(GString *script, const BenchResults *results,
                       Range *range)
{
    const BenchMetric *metric = bench_metric_find("limit.device-state");
    BenchSummary limit = bench_summary(results, metric, BENCH_LIMIT,
                                       BENCH_P50);

    if (limit.rounds) {
        double ms = MAX(limit.median, LEAST_MS);

        range_add(range, ms);
        g_string_append_printf(script, "set arrow from graph 0, first %g to "
                               "graph 1, first %g nohead dt 2 lc rgb '%s'\n",
                               ms, ms, bench_colour(BENCH_LIMIT));
        /* Below the key, where no figure can lie under it */
        bench_draw_label(script, "- - device state saved and loaded",
                         "screen 0.97, screen 1", bench_colour(BENCH_LIMIT),
                         "right offset 0, -3.3 font ',11'");
    }
}

char *bench_draw_pauses(const BenchResults *results,
                        const BenchReportInfo *info)
{
    static const BenchVariant variants[] = { BENCH_A, BENCH_B };
    GString *script = g_string_new(NULL);
    g_autoptr(GString) plot = g_string_new(NULL);
    Range range = { INFINITY, 0 };
    int loads = 0, clouds = 0;

    bench_draw_begin(script, "Pause of the guest per checkpoint",
                     "milliseconds, logarithmic; each dot is a checkpoint, "
                     "the bar is p50, the tick p99");
    bench_draw_key(script, info, variants, ARRAY_SIZE(variants));
    g_string_append(script, "set xtics scale 0 ()\n");
    for (int i = 0; i < ARRAY_SIZE(pauses); i++) {
        int before = clouds;

        for (int j = 0; j < ARRAY_SIZE(variants); j++) {
            g_autoptr(GArray) sorted = bench_draw_samples(
                results, pauses[i].metric, variants[j]);

            if (sorted) {
                range_add(&range, sample(sorted, 0));
                range_add(&range, sample(sorted, 1));
                draw_cloud(script, sorted, loads - 0.2 + 0.4 * j, clouds,
                           variants[j]);
                g_string_append_printf(
                    plot, "%s$cloud%d using 1:2 with points pt 7 ps 0.35 "
                    "lc rgb '#b0%s'", clouds ? ", " : "plot ", clouds,
                    bench_colour(variants[j]) + 1);
                clouds++;
            }
        }
        if (clouds > before) {
            g_string_append_printf(script, "set xtics add ('%s' %d)\n",
                                   pauses[i].load, loads++);
        }
    }
    if (!clouds) {
        g_string_free(script, TRUE);
        return NULL;
    }
    draw_limit(script, results, &range);
    g_string_append_printf(script, "set logscale y\nset xrange [-0.5:%g]\n"
                           "set yrange [%g:%g]\nset grid noxtics\n"
                           "set ylabel 'ms'\n%s\n", loads - 0.4,
                           range.least / 1.6, range.most * 1.3, plot->str);
    return g_string_free(script, FALSE);
}

/* One curve: the share of samples that are at most so great */
static void draw_curve(GString *script, const GArray *sorted,
                       BenchVariant variant)
{
    unsigned points = MIN(sorted->len, MAX_POINTS);

    g_string_append_printf(script, "$curve%d << EOD\n", variant);
    g_string_append_printf(script, "%g 0\n", sample(sorted, 0));
    for (unsigned i = 0; i < points; i++) {
        double share = (i + 1.0) / points;

        g_string_append_printf(script, "%g %g\n", sample(sorted, share),
                               share * 100);
    }
    g_string_append(script, "EOD\n");
}

/* At the right, below each other: name, p50 and p99 */
static void draw_figures(GString *script, const BenchReportInfo *info,
                         const GArray *sorted, BenchVariant variant, int line)
{
    double p50 = sample(sorted, 0.5), p99 = sample(sorted, 0.99);
    g_autofree char *p50_text = bench_format(p50);
    g_autofree char *p99_text = bench_format(p99);
    double y = 0.86 - 0.08 * line;
    const char *colour = bench_colour(variant);
    const struct {
        const char *text;
        double x;
        const char *side;
    } words[] = {
        { bench_variant_name(info, variant), 1.03, "left" },
        { p50_text, 1.29, "right" },
        { p99_text, 1.43, "right" },
    };

    for (int i = 0; i < ARRAY_SIZE(words); i++) {
        g_autofree char *at = g_strdup_printf("graph %g, graph %g",
                                              words[i].x, y);
        g_autofree char *options = g_strdup_printf("%s front font ',12'",
                                                   words[i].side);

        bench_draw_label(script, words[i].text, at, colour, options);
    }
    g_string_append_printf(script, "set object circle at first %g, 50 "
                           "size scr 0.006 fs solid fc rgb '%s' front\n"
                           "set object circle at first %g, 99 "
                           "size scr 0.006 fs solid fc rgb '%s' front\n",
                           p50, colour, p99, colour);
}

static char *draw_latency(const BenchResults *results,
                          const BenchReportInfo *info, const char *name,
                          const char *title)
{
    static const BenchVariant variants[] = {
        BENCH_B, BENCH_A, BENCH_ALONE, BENCH_LIMIT
    };
    const BenchMetric *metric = bench_metric_find(name);
    GString *script = g_string_new(NULL);
    g_autoptr(GString) plot = g_string_new(NULL);
    int curves = 0;

    bench_draw_begin(script, title,
                     "share of the samples (%) that took at most so many "
                     "milliseconds (logarithmic)");
    for (int i = 0; i < ARRAY_SIZE(variants); i++) {
        g_autoptr(GArray) sorted = bench_draw_samples(
            results, variants[i] == BENCH_LIMIT ? metric->limit : name,
            variants[i]);

        if (sorted) {
            draw_curve(script, sorted, variants[i]);
            draw_figures(script, info, sorted, variants[i], curves);
            g_string_append_printf(
                plot, "%s$curve%d using 1:2 with lines lw %g lc rgb '%s'",
                curves ? ", " : "plot ", variants[i],
                variants[i] == BENCH_LIMIT ? 1.2 : 2.4,
                bench_colour(variants[i]));
            curves++;
        }
    }
    if (!curves) {
        g_string_free(script, TRUE);
        return NULL;
    }
    bench_draw_label(script, "p50", "graph 1.29, graph 0.94", "#666666",
                     "right front font ',10'");
    bench_draw_label(script, "p99", "graph 1.43, graph 0.94", "#666666",
                     "right front font ',10'");
    g_string_append_printf(script, "set logscale x\nset autoscale xfix\n"
                           "set yrange [0:101]\n"
                           "set ytics (0, 25, 50, 75, 90, 99)\n"
                           "set xlabel 'ms'\nset ylabel '%%'\n"
                           "set rmargin screen 0.68\n%s\n",
                           plot->str);
    return g_string_free(script, FALSE);
}

char *bench_draw_echo(const BenchResults *results,
                      const BenchReportInfo *info)
{
    return draw_latency(results, info, "echo.rtt", "Echo round trip");
}

char *bench_draw_connect(const BenchResults *results,
                         const BenchReportInfo *info)
{
    return draw_latency(results, info, "connect.request",
                        "Connect, request, answer");
}

char *bench_draw_udp(const BenchResults *results, const BenchReportInfo *info)
{
    return draw_latency(results, info, "udp.rtt", "UDP round trip");
}
