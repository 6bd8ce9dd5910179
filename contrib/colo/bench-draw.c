/*
 * What the pictures have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "bench-draw.h"

#define TEXT_COLOUR "#222222"
#define FAINT_COLOUR "#666666"

const char *bench_colour(BenchVariant variant)
{
    static const char *const colours[BENCH_VARIANTS] = {
        [BENCH_A] = "#0072b2",
        [BENCH_B] = "#d55e00",
        [BENCH_ALONE] = "#009e73",
        [BENCH_LIMIT] = "#777777",
    };

    return colours[variant];
}

const char *bench_variant_name(const BenchReportInfo *info,
                               BenchVariant variant)
{
    switch (variant) {
    case BENCH_A:
        return info->a_name;
    case BENCH_B:
        return info->b_name;
    case BENCH_ALONE:
        return "alone";
    default:
        return "limit";
    }
}

char *bench_quote(const char *text)
{
    GString *quoted = g_string_new("'");

    for (; *text; text++) {
        /* Only quotes are special there; a line end would end it. */
        if (*text == '\'') {
            g_string_append(quoted, "''");
        } else {
            g_string_append_c(quoted, (unsigned char)*text < ' ' ? ' ' : *text);
        }
    }
    g_string_append_c(quoted, '\'');
    return g_string_free(quoted, FALSE);
}

void bench_draw_label(GString *script, const char *text, const char *at,
                      const char *colour, const char *options)
{
    g_autofree char *quoted = bench_quote(text);

    g_string_append_printf(script, "set label %s at %s tc rgb '%s' %s\n",
                           quoted, at, colour, options);
}

void bench_draw_begin(GString *script, const char *title,
                      const char *subtitle)
{
    g_string_append(script,
                    "set encoding utf8\n"
                    "unset key\n"
                    "set border 3 lc rgb '" FAINT_COLOUR "' lw 0.7\n"
                    "set tics nomirror out scale 0.5 tc rgb '" TEXT_COLOUR
                    "'\n"
                    "set grid lt 1 lc rgb '#e4e4e4' lw 0.7\n"
                    "set tmargin 6\nset rmargin 5\n"
                    "set label tc rgb '" TEXT_COLOUR "'\n"
                    "unset label\n");
    bench_draw_label(script, title, "screen 0.025, screen 1", TEXT_COLOUR,
                     "left offset 0, -1.7 font ',15'");
    bench_draw_label(script, subtitle, "screen 0.025, screen 1", FAINT_COLOUR,
                     "left offset 0, -3.3 font ',11'");
}

void bench_draw_key(GString *script, const BenchReportInfo *info,
                    const BenchVariant *variants, int count)
{
    double x = 0.97;

    for (int i = count - 1; i >= 0; i--) {
        const char *name = bench_variant_name(info, variants[i]);
        g_autofree char *text = g_strdup_printf("\u25cf %s", name);
        g_autofree char *at = g_strdup_printf("screen %.3f, screen 1", x);

        bench_draw_label(script, text, at, bench_colour(variants[i]),
                         "right offset 0, -1.7 font ',12'");
        x -= 0.045 + 0.0095 * g_utf8_strlen(name, -1);
    }
}

GArray *bench_draw_samples(const BenchResults *results, const char *metric,
                           BenchVariant variant)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < bench_results_rounds(results); i++) {
        size_t count;
        const double *samples = bench_results_samples(results, metric, variant,
                                                      i, &count);

        g_array_append_vals(all, samples, count);
    }
    if (!all->len) {
        g_array_unref(all);
        return NULL;
    }
    bench_sort((double *)all->data, all->len);
    return all;
}
