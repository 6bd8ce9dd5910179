/*
 * The results as a table for people: plain text and Markdown
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <math.h>
#include "bench-stats.h"
#include "bench-table.h"

enum {
    COL_METRIC, COL_FIGURE, COL_A, COL_B, COL_ALONE, COL_RATIO, COL_SPREAD,
    COL_VERDICT, COL_LIMIT, COLS
};

/* The limits have a table of their own, with three columns. */
enum { LIMIT_METRIC, LIMIT_FIGURE, LIMIT_VALUE, LIMIT_COLS };

typedef struct Table {
    const BenchResults *results;
    const BenchReportInfo *info;
    BenchTableStyle style;
    GString *out;
    GPtrArray *cells;      /* of char *, the rows one after the other */
    GPtrArray *notes;      /* of char *, why a figure is missing */
    unsigned verdicts[BENCH_WORSE + 1];
    double by_chance;      /* verdicts to expect where nothing differs */
} Table;

char *bench_format(double value)
{
    double size = fabs(value);

    if (isinf(value)) {
        return g_strdup("inf");
    }
    if (size >= 999.5e3) {
        return g_strdup_printf(size >= 99.95e6 ? "%.0f M" :
                               size >= 9.995e6 ? "%.1f M" : "%.2f M",
                               value / 1e6);
    }
    if (size >= 9999.5) {
        return g_strdup_printf(size >= 99.95e3 ? "%.0f k" : "%.1f k",
                               value / 1e3);
    }
    if (size >= 99.95) {
        return g_strdup_printf("%.0f", value);
    }
    if (size >= 0.9995) {
        return g_strdup_printf(size >= 9.995 ? "%.1f" : "%.2f", value);
    }
    return g_strdup_printf("%.*f", size ? 2 - (int)floor(log10(size)) : 0,
                           value);
}

static void G_GNUC_PRINTF(2, 3) cell(Table *table, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_ptr_array_add(table->cells, g_strdup_vprintf(fmt, ap));
    va_end(ap);
}

static void cell_number(Table *table, double value)
{
    g_ptr_array_add(table->cells, bench_format(value));
}

static const char *variant_name(Table *table, BenchVariant variant)
{
    switch (variant) {
    case BENCH_A:
        return table->info->a_name;
    case BENCH_B:
        return table->info->b_name;
    case BENCH_ALONE:
        return "alone";
    default:
        return "limit";
    }
}

/* Returns the number of the note, from 1; equal ones are one. */
static unsigned note(Table *table, BenchVariant variant, const char *why)
{
    g_autofree char *text = g_strdup_printf("%s: %s",
                                            variant_name(table, variant), why);
    guint index;

    if (!g_ptr_array_find_with_equal_func(table->notes, text, g_str_equal,
                                          &index)) {
        index = table->notes->len;
        g_ptr_array_add(table->notes, g_steal_pointer(&text));
    }
    return index + 1;
}

static void cell_figure(Table *table, const BenchMetric *metric,
                        BenchVariant variant, BenchFigure figure)
{
    BenchSummary summary = bench_summary(table->results, metric, variant,
                                         figure);
    const char *why = bench_results_why(table->results, metric->name, variant);
    unsigned rounds = bench_results_rounds(table->results);

    if (summary.rounds && summary.rounds < rounds) {
        /* It has failed in some of the rounds, or was left out. */
        g_autofree char *value = bench_format(summary.median);
        g_autofree char *text = g_strdup_printf("measured in %u of %u rounds"
                                                "%s%s", summary.rounds, rounds,
                                                why ? "; " : "", why ?: "");

        cell(table, "%s [%u]", value, note(table, variant, text));
    } else if (summary.rounds) {
        cell_number(table, summary.median);
    } else if (why) {
        cell(table, "[%u]", note(table, variant, why));
    } else {
        cell(table, "-");
    }
}

static void cell_metric(Table *table, const BenchMetric *metric,
                        BenchFigure figure)
{
    if (figure) {
        cell(table, "%s", "");
    } else if (metric->unit[0]) {
        cell(table, "%s [%s]", metric->title, metric->unit);
    } else {
        cell(table, "%s", metric->title);
    }
    cell(table, "%s", metric->kind == BENCH_SCALAR ? "" :
         bench_figure_name(metric, figure));
}

/* A p99 that is the maximum by another name shall not count twice. */
static bool repeats_max(Table *table, const BenchMetric *metric,
                        BenchFigure figure)
{
    size_t count, most = 0;

    for (unsigned i = 0; i < bench_results_rounds(table->results); i++) {
        for (int v = BENCH_A; v <= BENCH_B; v++) {
            bench_results_samples(table->results, metric->name, v, i, &count);
            most = MAX(most, count);
        }
    }
    return figure == BENCH_P99 && most < 100;
}

static void cells_ratio(Table *table, const BenchMetric *metric,
                        BenchFigure figure)
{
    BenchRatio ratio = bench_ratio(table->results, metric, figure);
    bool marked = ratio.verdict == BENCH_BETTER ||
                  ratio.verdict == BENCH_WORSE;
    const char *bold = marked && table->style == BENCH_TABLE_MARKDOWN ?
                       "**" : "";
    bool counts = ratio.rounds && !repeats_max(table, metric, figure);
    g_autofree char *low = bench_format(ratio.low);
    g_autofree char *high = bench_format(ratio.high);

    table->verdicts[ratio.verdict] += counts;
    if (!ratio.rounds) {
        cell(table, "%s", "");
        cell(table, "%s", "");
        cell(table, "%s", "");
        return;
    }
    if (counts && ratio.verdict != BENCH_TOO_FEW) {
        table->by_chance += 1 - ratio.confidence;
    }
    cell_number(table, ratio.median);
    cell(table, "%s to %s", low, high);
    cell(table, "%s%s%s", bold, ratio.verdict == BENCH_TOO_FEW ? "?" :
         bench_verdict_name(ratio.verdict), bold);
}

static bool is_known(Table *table, const BenchMetric *metric,
                     BenchVariant variant, BenchFigure figure)
{
    /* Why there is none is said once. */
    return bench_summary(table->results, metric, variant, figure).rounds ||
           (!figure &&
            bench_results_why(table->results, metric->name, variant));
}

static void add_row(Table *table, const BenchMetric *metric,
                    BenchFigure figure)
{
    double to_limit;

    if (!is_known(table, metric, BENCH_A, figure) &&
        !is_known(table, metric, BENCH_B, figure) &&
        !is_known(table, metric, BENCH_ALONE, figure)) {
        return;
    }
    cell_metric(table, metric, figure);
    cell_figure(table, metric, BENCH_A, figure);
    cell_figure(table, metric, BENCH_B, figure);
    cell_figure(table, metric, BENCH_ALONE, figure);
    cells_ratio(table, metric, figure);
    to_limit = bench_limit_ratio(table->results, metric, BENCH_A, figure);
    if (to_limit) {
        cell_number(table, to_limit);
    } else {
        cell(table, "%s", "");
    }
}

static void add_limit(Table *table, const BenchMetric *metric,
                      BenchFigure figure)
{
    if (is_known(table, metric, BENCH_LIMIT, figure)) {
        cell_metric(table, metric, figure);
        cell_figure(table, metric, BENCH_LIMIT, figure);
    }
}

static size_t width_of(Table *table, int cols, int col)
{
    size_t width = 0;

    for (size_t i = col; i < table->cells->len; i += cols) {
        width = MAX(width, g_utf8_strlen(table->cells->pdata[i], -1));
    }
    return width;
}

static void put_padded(Table *table, const char *text, size_t width,
                       bool right)
{
    int pad = width - g_utf8_strlen(text, -1);

    g_string_append_printf(table->out, "%*s%s%*s", right ? pad : 0, "", text,
                           right ? 0 : pad, "");
}

/* Words to the left, numbers to the right */
static bool is_right(int cols, int col)
{
    return cols == LIMIT_COLS ? col == LIMIT_VALUE :
           col >= COL_A && col != COL_VERDICT && col != COL_SPREAD;
}

static void put_rule(Table *table, int cols, const size_t *widths)
{
    bool markdown = table->style == BENCH_TABLE_MARKDOWN;

    for (int col = 0; col < cols; col++) {
        g_string_append(table->out, markdown ? "|" : "");
        for (size_t i = 0; i < widths[col] + 2; i++) {
            bool colon = markdown && is_right(cols, col) &&
                         i == widths[col] + 1;

            g_string_append_c(table->out, colon ? ':' : '-');
        }
    }
    g_string_append(table->out, markdown ? "|\n" : "\n");
}

/* Writes the rows, of which the first is the head, and forgets them. */
static void put_cells(Table *table, int cols)
{
    bool markdown = table->style == BENCH_TABLE_MARKDOWN;
    size_t widths[COLS];

    for (int col = 0; col < cols; col++) {
        widths[col] = width_of(table, cols, col);
    }
    for (size_t i = 0; i < table->cells->len; i++) {
        int col = i % cols;

        g_string_append(table->out, markdown ? "| " : " ");
        put_padded(table, table->cells->pdata[i], widths[col],
                   is_right(cols, col));
        g_string_append_c(table->out, ' ');
        if (col == cols - 1) {
            g_string_append(table->out, markdown ? "|\n" : "\n");
            if (i < cols) {
                put_rule(table, cols, widths);
            }
        }
    }
    g_ptr_array_set_size(table->cells, 0);
}

static void put_head(Table *table)
{
    const BenchReportInfo *info = table->info;
    bool markdown = table->style == BENCH_TABLE_MARKDOWN;
    const char *item = markdown ? "- " : "";

    g_string_append_printf(table->out, "%s%s against %s, %s\n%s",
                           markdown ? "### " : "", info->a_name, info->b_name,
                           info->date, markdown ? "\n" : "");
    g_string_append_printf(table->out, "%s%s: %s\n", item, info->a_name,
                           info->a_version);
    g_string_append_printf(table->out, "%s%s: %s\n", item, info->b_name,
                           info->b_version);
    g_string_append_printf(table->out, "%smachine: %s\n", item, info->machine);
    g_string_append_printf(table->out, "%ssettings: %s; %u rounds\n\n", item,
                           info->settings,
                           bench_results_rounds(table->results));
}

static void put_main(Table *table)
{
    static const BenchFigure figures[] = { BENCH_P50, BENCH_P99, BENCH_MAX };

    cell(table, "metric");
    cell(table, "%s", "");
    cell(table, "%s", table->info->a_name);
    cell(table, "%s", table->info->b_name);
    cell(table, "alone");
    cell(table, "ratio");
    cell(table, "spread");
    cell(table, "verdict");
    cell(table, "to limit");
    for (size_t i = 0; i < bench_metrics_count; i++) {
        for (int j = 0; j < bench_figures(&bench_metrics[i]); j++) {
            add_row(table, &bench_metrics[i], figures[j]);
        }
    }
    put_cells(table, COLS);
}

static void put_limits(Table *table)
{
    cell(table, "limit of this machine");
    cell(table, "%s", "");
    cell(table, "%s", "");
    for (size_t i = 0; i < bench_metrics_count; i++) {
        for (int j = 0; j < bench_figures(&bench_metrics[i]); j++) {
            add_limit(table, &bench_metrics[i], j);
        }
    }
    if (table->cells->len > LIMIT_COLS) {
        g_string_append_c(table->out, '\n');
        put_cells(table, LIMIT_COLS);
    }
    g_ptr_array_set_size(table->cells, 0);
}

static void put_notes(Table *table)
{
    bool markdown = table->style == BENCH_TABLE_MARKDOWN;

    if (table->notes->len) {
        g_string_append(table->out, "\nWhat is missing, and why:\n");
        g_string_append(table->out, markdown ? "\n" : "");
    }
    for (guint i = 0; i < table->notes->len; i++) {
        g_string_append_printf(table->out, "%s[%u] %s\n", markdown ? "- " : " ",
                               i + 1, (char *)table->notes->pdata[i]);
    }
}

static void put_legend(Table *table)
{
    const unsigned *v = table->verdicts;
    const char *a = table->info->a_name, *b = table->info->b_name;

    g_string_append_printf(table->out, "\n%s is better in %u figures, worse "
                           "in %u; %u are a tie", a, v[BENCH_BETTER],
                           v[BENCH_WORSE], v[BENCH_TIE]);
    if (v[BENCH_TOO_FEW]) {
        g_string_append_printf(table->out, "; %u (?) need at least 5 rounds",
                               v[BENCH_TOO_FEW]);
    }
    g_string_append_printf(table->out, ".\nIf nothing differed at all, "
                           "chance would still mark up to %.1f of them.\n\n",
                           table->by_chance);
    g_string_append_printf(
        table->out,
        "Each figure is the median over the rounds; the p99 of less than 100 "
        "samples in a\nround is their maximum, and counts as one with it. The "
        "ratio is %s/%s, taken\nround by round; the spread holds its true "
        "median with at least %.0f %% certainty.\nA spread that holds 1, and "
        "a ratio within %.0f %% of 1, is a tie. \"to limit\" is\n%s/limit.\n",
        a, b, BENCH_CONFIDENCE * 100, BENCH_RESOLUTION * 100, a);
}

char *bench_table(const BenchResults *results, const BenchReportInfo *info,
                  BenchTableStyle style)
{
    Table table = {
        .results = results,
        .info = info,
        .style = style,
        .out = g_string_new(NULL),
        .cells = g_ptr_array_new_with_free_func(g_free),
        .notes = g_ptr_array_new_with_free_func(g_free),
    };

    put_head(&table);
    put_main(&table);
    put_limits(&table);
    put_notes(&table);
    put_legend(&table);
    g_ptr_array_unref(table.cells);
    g_ptr_array_unref(table.notes);
    return g_string_free(table.out, FALSE);
}
