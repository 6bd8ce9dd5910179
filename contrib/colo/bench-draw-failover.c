/*
 * Picture of failovers: what a client sees before and after the kill
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-draw.h"
#include "bench-table.h"

/* Shown on both sides of the silence */
#define MARGIN_MS 500.0

typedef struct Silence {
    double begin, end;    /* the longest, ms from the kill */
} Silence;

/* @times ascending, at least two */
static Silence longest_silence(const double *times, size_t count)
{
    Silence longest = { times[0], times[1] };

    for (size_t i = 2; i < count; i++) {
        if (times[i] - times[i - 1] > longest.end - longest.begin) {
            longest = (Silence) { times[i - 1], times[i] };
        }
    }
    return longest;
}

/* A line of ticks, the silence as a band with its length in it */
static Silence draw_round(GString *script, const double *times, size_t count,
                          BenchVariant variant, int row)
{
    Silence silence = longest_silence(times, count);
    g_autofree char *ms = bench_format(silence.end - silence.begin);
    g_autofree char *text = g_strdup_printf("%s ms", ms);
    g_autofree char *at = g_strdup_printf("%g, %d", silence.end / 1000, -row);

    g_string_append_printf(script, "set object rectangle from %g, %g to "
                           "%g, %g fs solid 0.16 noborder fc rgb '%s'\n",
                           silence.begin / 1000, -row - 0.32,
                           silence.end / 1000, -row + 0.32,
                           bench_colour(variant));
    bench_draw_label(script, text, at, bench_colour(variant),
                     "right front offset -0.6, 0 font ',11'");
    g_string_append_printf(script, "$round%d << EOD\n", row);
    for (size_t i = 0; i < count; i++) {
        g_string_append_printf(script, "%g %d 0 0.28\n%g %d 0 -0.28\n",
                               times[i] / 1000, -row, times[i] / 1000, -row);
    }
    g_string_append(script, "EOD\n");
    return silence;
}

char *bench_draw_failover(const BenchResults *results,
                          const BenchReportInfo *info)
{
    static const BenchVariant variants[] = { BENCH_A, BENCH_B };
    GString *script = g_string_new(NULL);
    g_autoptr(GString) plot = g_string_new("plot NaN");
    Silence all = { 0, 0 };
    int row = 0;

    bench_draw_begin(script, "Failover, as a client sees it",
                     "each tick is an answer, the band the longest silence; "
                     "seconds from the kill of the primary, one line per "
                     "round");
    for (int i = 0; i < ARRAY_SIZE(variants); i++) {
        int first = row;

        for (unsigned j = 0; j < bench_results_rounds(results); j++) {
            size_t count;
            const double *times = bench_results_samples(
                results, "failover.answers", variants[i], j, &count);
            Silence silence;

            if (count < 2) {
                continue;
            }
            silence = draw_round(script, times, count, variants[i], row);
            all.begin = MIN(all.begin, silence.begin);
            all.end = MAX(all.end, silence.end);
            g_string_append_printf(plot, ", $round%d using 1:2:3:4 with "
                                   "vectors nohead lw 0.8 lc rgb '%s'", row,
                                   bench_colour(variants[i]));
            row++;
        }
        if (row > first) {
            g_autofree char *at = g_strdup_printf(
                "graph -0.015, first %g", -(first + row - 1) / 2.0);

            bench_draw_label(script, bench_variant_name(info, variants[i]), at,
                             bench_colour(variants[i]), "right font ',12'");
        }
    }
    if (!row) {
        g_string_free(script, TRUE);
        return NULL;
    }
    bench_draw_label(script, "kill", "0, graph 1", "#333333",
                     "center offset 0, 0.6 font ',11'");
    g_string_append_printf(script, "set arrow from 0, graph 0 to 0, graph 1 "
                           "nohead lw 1.5 lc rgb '#333333' front\n"
                           "set xrange [%g:%g]\nset yrange [%g:0.6]\n"
                           "unset ytics\nset grid noytics\nset border 1\n"
                           "set lmargin screen 0.14\n"
                           "set xlabel 's'\n%s\n",
                           (all.begin - MARGIN_MS) / 1000,
                           (all.end + MARGIN_MS) / 1000, 0.4 - row, plot->str);
    return g_string_free(script, FALSE);
}
