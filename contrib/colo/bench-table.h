/*
 * The results as a table for people: plain text and Markdown
 *
 * Pure.  Thread: any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_TABLE_H
#define COLO_BENCH_TABLE_H

#include "bench-report.h"

typedef enum BenchTableStyle {
    BENCH_TABLE_TEXT,
    BENCH_TABLE_MARKDOWN,
} BenchTableStyle;

/*
 * Says what was measured on what, one line per figure, the limits, why
 * figures are missing, and how to read it.  A metric of which nothing at all
 * is known has no line.  Free with g_free().
 */
char *bench_table(const BenchResults *results, const BenchReportInfo *info,
                  BenchTableStyle style);

/*
 * @value with three digits, as people write it: "0.0123", "7.41", "45.2 k".
 * Free with g_free().
 */
char *bench_format(double value);

#endif
