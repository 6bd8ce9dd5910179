/*
 * Reports of a bench: table, JSON, pictures
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qjson.h"
#include "bench-json.h"
#include "bench-plot.h"
#include "bench-report.h"
#include "bench-table.h"

void bench_report_print(const BenchResults *results,
                        const BenchReportInfo *info, FILE *out)
{
    g_autofree char *table = bench_table(results, info, BENCH_TABLE_TEXT);

    fputs(table, out);
    fflush(out);
}

static void write_file(const char *dir, const char *name, const char *text,
                       Error **errp)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(GError) gerr = NULL;

    if (!g_file_set_contents(path, text, -1, &gerr)) {
        error_setg(errp, "%s", gerr->message);
    }
}

static void write_table(const BenchResults *results,
                        const BenchReportInfo *info, const char *dir,
                        const char *name, BenchTableStyle style, Error **errp)
{
    g_autofree char *table = bench_table(results, info, style);

    write_file(dir, name, table, errp);
}

static void write_json(const BenchResults *results,
                       const BenchReportInfo *info, const char *dir,
                       Error **errp)
{
    g_autoptr(QDict) dict = bench_json(results, info);
    g_autoptr(GString) text = qobject_to_json(QOBJECT(dict));

    g_string_append_c(text, '\n');
    write_file(dir, "results.json", text->str, errp);
}

bool bench_report_write(const BenchResults *results,
                        const BenchReportInfo *info, const char *dir,
                        bool pictures, Error **errp)
{
    Error *first = NULL, *err = NULL;

    if (g_mkdir_with_parents(dir, 0777) < 0) {
        error_setg_errno(errp, errno, "cannot make the directory %s", dir);
        return false;
    }
    write_table(results, info, dir, "table.txt", BENCH_TABLE_TEXT, &first);
    write_table(results, info, dir, "table.md", BENCH_TABLE_MARKDOWN, &err);
    error_propagate(&first, g_steal_pointer(&err));
    write_json(results, info, dir, &err);
    error_propagate(&first, g_steal_pointer(&err));
    if (pictures) {
        bench_plot(results, info, dir, &err);
        error_propagate(&first, g_steal_pointer(&err));
    }
    if (first) {
        error_propagate(errp, first);
        return false;
    }
    return true;
}
